"""Contact sheets: which pictures stand where."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.contact_sheet import GAP, main


def artifact(folder: Path, kind: str, colors: dict[str, int]) -> Path:
    (folder / "pictures").mkdir(parents=True)
    entries = []
    for title, level in colors.items():
        Image.new("RGB", (4, 2), (level, level, level)).save(folder / "pictures" / f"{title}.png")
        entries.append({"file": f"pictures/{title}.png", "title": title, "kind": kind, "caption": ""})
    (folder / "pictures.json").write_text(json.dumps(entries))
    return folder


def test_rows_are_titles_and_columns_folders(tmp_path: Path):
    first = artifact(tmp_path / "a", "input", {"x": 10, "y": 20, "z": 30})
    second = artifact(tmp_path / "b", "translated", {"y": 50, "x": 40})
    output = tmp_path / "sheet.png"
    assert main([str(output), f"{first}:input", f"{second}:translated", "--scale", "3"]) == 0
    pixels = np.asarray(Image.open(output))
    assert pixels.shape == (2 * 6 + GAP, 2 * 12 + GAP, 3)
    corners = [[int(pixels[row, place, 0]) for place in (0, -1)] for row in (0, -1)]
    assert corners == [[10, 40], [20, 50]]
    assert (pixels[6 : 6 + GAP] == 255).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{}/nowhere:input",), "nowhere/pictures.json does not exist"),
        (("{}/a:output",), "has no pictures 'output'; kinds are input"),
        (("{}/a:input", "{}/c:input"), "no title in common"),
    ],
)
def test_what_cannot_be_laid_out_is_said_in_one_line(tmp_path: Path, capsys, words, message: str):
    artifact(tmp_path / "a", "input", {"x": 10})
    artifact(tmp_path / "c", "input", {"y": 10})
    assert main([str(tmp_path / "sheet.png"), *(word.format(tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "sheet.png").exists()
