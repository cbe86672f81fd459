"""One PNG of pictures that stages left: a row for each title, a column for each folder and kind.

``python -m results.contact_sheet sheet.png FOLDER:KIND FOLDER:KIND …``, where a folder is an artifact's with
``pictures.json``, and kinds are those that stand there (``input``, ``translated`` …). Rows are the titles that all
columns have. What the columns show is for the text beside the sheet to say.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

GAP = 2
"""Pixels of white between pictures."""


def column(text: str) -> dict[str, Path]:
    """Title → file of one ``FOLDER:KIND``.

    Raises:
        ValueError: there is no such folder, or it has no picture of that kind.
    """
    folder, _, kind = text.rpartition(":")
    listing = Path(folder) / "pictures.json"
    if not listing.is_file():
        raise ValueError(
            f"{listing} does not exist: write FOLDER:KIND with the folder of an artifact that has pictures"
        )
    entries = json.loads(listing.read_text())
    found = {entry["title"]: listing.parent / entry["file"] for entry in entries if entry["kind"] == kind}
    if not found:
        raise ValueError(
            f"{folder} has no pictures {kind!r}; kinds are {', '.join(sorted({e['kind'] for e in entries}))}"
        )
    return found


def sheet(columns: Sequence[Mapping[str, Path]], *, scale: int) -> Image.Image:
    """The pictures of the titles that all ``columns`` have, every pixel ``scale`` times as wide and high.

    Raises:
        ValueError: they have no title in common.
    """
    titles = [title for title in columns[0] if all(title in one for one in columns)]
    if not titles:
        raise ValueError("the columns have no title in common")
    rows = []
    for title in titles:
        tiles = [Image.open(one[title]).convert("RGB") for one in columns]
        rows.append(
            [tile.resize((tile.width * scale, tile.height * scale), Image.Resampling.NEAREST) for tile in tiles]
        )
    widths = [max(row[place].width for row in rows) for place in range(len(columns))]
    heights = [max(tile.height for tile in row) for row in rows]
    made = Image.new("RGB", (sum(widths) + GAP * (len(widths) - 1), sum(heights) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile, width in zip(row, widths, strict=True):
            made.paste(tile, (left, top))
            left += width + GAP
        top += height + GAP
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sheet; 2 where that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m results.contact_sheet", description="One PNG of many pictures.")
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("columns", nargs="+", metavar="FOLDER:KIND")
    parser.add_argument("--scale", type=int, default=2, help="how many times as large (default: 2)")
    options = parser.parse_args(arguments)
    try:
        sheet([column(text) for text in options.columns], scale=options.scale).save(options.output, optimize=True)
    except ValueError as error:
        sys.stderr.write(f"contact_sheet: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
