"""Images that two splits share, by content: a copy under another name counts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainers.data.datasets import DataSplit, open_split
from trainers.data.fingerprint import hash_file
from trainers.errors import UserError


def shared_images(roots: Mapping[str, Path], one: DataSplit, other: DataSplit) -> list[tuple[Path, Path]]:
    """(image of ``one``, equal image of ``other``) for every image that both have."""
    return equal_files(*([sample.image for sample in open_split(roots, split)] for split in (one, other)))


def equal_files(mine: Sequence[Path], others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """(file of ``mine``, equal file of ``others``) for every file that both have.

    Only files of one size are read. A packed data set names images that are elsewhere; there the names decide.
    """
    theirs = dict.fromkeys(others)
    shared = [(path, path) for path in mine if path in theirs]
    left = [path for path in mine if path not in theirs and path.is_file()]
    sizes = _by_size(path for path in theirs if path.is_file())
    hashes: dict[Path, str] = {}
    for path in left:
        for candidate in sizes.get(path.stat().st_size, ()):
            for file in (path, candidate):
                if file not in hashes:
                    hashes[file] = hash_file(file, full=False)
            if hashes[path] == hashes[candidate]:
                shared.append((path, candidate))
                break
    return shared


def check_apart(roots: Mapping[str, Path], mine: DataSplit, report: DataSplit, *, what: str) -> None:
    """Refuse to train on images, even without their labels, that scores are reported on; ``what`` names the field.

    Where a stage makes the data set, its splits of different names share nothing by construction.

    Raises:
        UserError: with an image that both have.
    """
    if mine.dataset not in roots or report.dataset not in roots:
        if (mine.dataset, mine.split) == (report.dataset, report.split):
            raise UserError(f"{mine} is trained on and {report} is reported; take another split as {what}")
        return
    if shared := shared_images(roots, mine, report):
        one, other = shared[0]
        same = f"{one} is also {other}" if one != other else str(one)
        raise UserError(
            f"the {what} {mine} shares {len(shared)} image(s) with {report}, which is reported ({same}); take them out "
            f"of the {what}"
        )


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for path in paths:
        found.setdefault(path.stat().st_size, []).append(path)
    return found
