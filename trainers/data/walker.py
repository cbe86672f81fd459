"""What lies in a data set's folder: one walk for every layout, which follows links and leaves hidden things out.

What is left out is kept, so that `nightshift data check` can name it: no file drops out without a word.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trainers.errors import UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

HIDDEN_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})
"""Folders that systems leave beside what they copy, with thumbnails or forks of the same names."""

MOST_NAMED = 3


@dataclass
class Walk:
    """Everything below a folder, each list sorted."""

    files: list[Path] = field(default_factory=list)
    """Visible files; a link counts as what it leads to, and a broken one as a file that cannot be read."""
    hidden: list[Path] = field(default_factory=list)
    """Files and whole folders whose names begin with a dot, or that systems hide."""
    loops: list[Path] = field(default_factory=list)
    """Links to a folder that they lie in."""
    devices: list[Path] = field(default_factory=list)
    """What is neither file nor folder: reading it would wait for ever."""


def walk(folder: Path) -> Walk:
    """Everything below ``folder``; nothing where there is none.

    Raises:
        UserError: a folder cannot be listed.
    """
    result = Walk()
    if folder.is_dir():
        real = folder.resolve()
        _walk(folder, frozenset(map(_identity, (real, *real.parents))), result)
    for paths in (result.files, result.hidden, result.loops, result.devices):
        paths.sort()
    return result


def _walk(folder: Path, above: frozenset[tuple[int, int]], result: Walk) -> None:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}); make it readable, or move it away") from error
    for path in paths:
        if path.name.startswith(".") or path.name in HIDDEN_FOLDERS:
            result.hidden.append(path)
        elif path.is_dir():
            identity = _identity(path)
            if identity in above:
                result.loops.append(path)
            else:
                _walk(path, above | {identity}, result)
        elif path.is_file() or path.is_symlink():
            result.files.append(path)
        else:
            result.devices.append(path)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def images_below(folder: Path) -> list[Path]:
    """Every PNG and JPEG below ``folder``, sorted."""
    return [path for path in walk(folder).files if path.suffix.lower() in IMAGE_SUFFIXES]


def files_named(folder: Path, ending: str, *, depth: int) -> list[Path]:
    """Files ``depth`` levels below ``folder`` (1: in it) whose names end so, sorted."""
    level = len(folder.parts) + depth
    return [path for path in walk(folder).files if len(path.parts) == level and path.name.endswith(ending)]


@dataclass(frozen=True)
class Place:
    """A folder that a split is read from."""

    folder: Path
    of: str = "images"
    """``images`` or ``labels``: what its files are."""
    ending: str = ""
    """Of the names that belong to this split; others are another's."""
    others: str = ""
    """What stands in the names that belong to another split."""


def left_out(root: Path, places: Iterable[Place], taken: Collection[Path]) -> list[str]:
    """A line for each kind of thing below ``places`` that is not among the ``taken`` files, with the first few."""
    groups: dict[str, set[Path]] = {}
    for place in places:
        walked = walk(place.folder)
        rest = {path for path in walked.files if path not in taken and path.name.endswith(place.ending)}
        rest = {path for path in rest if not (place.others and place.others in path.name)}
        unread = "labels without an image that is read" if place.of == "labels" else "files that are not read as images"
        for kind, paths in (
            ("hidden", walked.hidden), ("links to a folder around them", walked.loops),
            ("neither files nor folders", walked.devices), (unread, rest),
        ):  # fmt: skip
            groups.setdefault(kind, set()).update(paths)
    return [f"{kind}: {named(root, paths)}" for kind, paths in groups.items() if paths]


def named(root: Path, paths: Iterable[Path]) -> str:
    """How many, and the first few, relative to ``root``."""
    names = sorted(os.path.relpath(path, root) for path in paths)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{len(names)} ({', '.join(names[:MOST_NAMED])}{more})"


def read_text(path: Path) -> str:
    """The text of a list: UTF-8, with or without a byte order mark.

    Raises:
        UserError: it is none.
    """
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise UserError(f"{path} is no UTF-8 but UTF-16, or no text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text file ({error}); a list is UTF-8 and holds one entry per line") from error
