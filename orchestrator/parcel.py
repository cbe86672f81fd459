"""Which files of a folder travel with a job: what git would list, no secrets, nothing from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import UserError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LIMIT_BYTES = 100 * 2**20
"""What Ray's dashboard takes in one request."""

NEVER_SENT = (
    ".git", ".venv", "venv", "runs", "__pycache__", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache",
    ".hypothesis", "build", "dist",
)  # fmt: skip
"""Beside what git ignores, in its syntax."""

RAY_IGNORE = ".rayignore"

SECRETS = (
    ".env", ".env.*", "!.env.example", "!.env.sample", "!.env.template", ".netrc", "_netrc", ".git-credentials",
    ".npmrc", ".pypirc", ".htpasswd", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "*.jks", "id_rsa", "id_dsa",
    "id_ecdsa", "id_ed25519", "credentials.json", "*service*account*.json", "kaggle.json", "auth_token",
    ".aws/credentials", ".ssh/", ".docker/config.json", ".huggingface/token",
)  # fmt: skip
"""Names of files that usually hold a password or a key, in the syntax of ``.gitignore``."""

PRIVATE_KEY = b"PRIVATE KEY-----"
HEAD_BYTES = 4096
"""How much of each file is searched for a private key."""
NAMED = 5


@dataclass(frozen=True)
class Parcel:
    """The files of a folder that a job needs."""

    folder: Path
    files: tuple[Path, ...]
    """Relative to ``folder``."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason → how many files, or whole folders, stay here."""

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum((self.folder / file).stat().st_size for file in self.files)

    def largest(self, count: int = 10) -> list[tuple[Path, int]]:
        """File and its bytes, the largest first."""
        sizes = [(file, (self.folder / file).stat().st_size) for file in self.files]
        return sorted(sizes, key=lambda item: -item[1])[:count]

    def describe(self) -> str:
        """Count in one line what is sent and what is not."""
        rest = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        return f"{len(self.files)} files, {_megabytes(self.size_bytes)}" + (f"; left out: {rest}" if rest else "")

    def copy_to(self, target: Path) -> None:
        """Copy the files, and nothing else; links become what they point at."""
        for file in self.files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / file, target / file)


def pack(folder: Path, limit_bytes: int = LIMIT_BYTES, include: Sequence[str] = ()) -> Parcel:
    """Collect what of ``folder`` is sent: what git lists, but for ``.rayignore`` and ``NEVER_SENT``.

    Args:
        folder: An absolute path, inside a repository or not.
        limit_bytes: More than this is refused.
        include: Patterns, in the syntax of ``.gitignore``, of files that look like secrets and are sent all the same.

    Raises:
        UserError: it is too large, a link leaves the folder, or a file looks like a secret.
    """
    left_out: Counter[str] = Counter()
    listed, left_out["ignored by git"] = _listed_by_git(folder)
    never, ray_specs = _spec(NEVER_SENT), _ray_ignores(folder, listed)
    files: list[Path] = []
    for file in listed:
        if never.match_file(file.as_posix()):
            left_out["never sent (runs, environments, caches)"] += 1
        elif any(
            spec.match_file(file.relative_to(place).as_posix()) for place, spec in ray_specs if _below(file, place)
        ):
            left_out[f"named in {RAY_IGNORE}"] += 1
        else:
            files.append(file)
    sent = _resolve_links(folder, files, left_out)
    _refuse_secrets(folder, sent, include)
    parcel = Parcel(folder, tuple(sorted(sent)), dict(left_out))
    if parcel.size_bytes > limit_bytes:
        largest = ", ".join(f"{file} {_megabytes(size)}" for file, size in parcel.largest())
        raise UserError(
            f"{folder} has {_megabytes(parcel.size_bytes)} to send, and a job may have {_megabytes(limit_bytes)}; "
            f"name in .gitignore or {RAY_IGNORE} what it does not need. The largest files: {largest}"
        )
    return parcel


def _listed_by_git(folder: Path) -> tuple[list[Path], int]:
    """The files that git tracks or would add, and how many files or whole folders it ignores."""
    with tempfile.TemporaryDirectory(prefix="nightshift-git-") as empty:
        at: list[str] = ["-C", str(folder)]
        if _git(*at, "rev-parse", "--is-inside-work-tree") is None:  # No repository: git lists by its ignore files.
            _require_git("init", "--quiet", "--bare", empty)
            at = ["-C", str(folder), f"--git-dir={empty}", f"--work-tree={folder}"]
        listing = _require_git(*at, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        ignored = _require_git(*at, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    files, count = [], len(_paths(ignored))
    for path in dict.fromkeys(_paths(listing)):
        if (folder / path).is_dir() and not (folder / path).is_symlink():  # A repository inside, or a submodule.
            inner, inner_count = _listed_by_git(folder / path)
            files += [path / file for file in inner]
            count += inner_count
        elif os.path.lexists(folder / path):  # What is tracked may be deleted.
            files.append(path)
    return files, count


def _paths(listing: bytes) -> list[Path]:
    return [Path(os.fsdecode(name)) for name in listing.split(b"\0") if name]


def _git(*words: str) -> bytes | None:
    try:
        return subprocess.run(["git", *words], capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise UserError("`nightshift submit` asks git what to send, and there is no git here; install it") from error
    except subprocess.CalledProcessError:
        return None


def _require_git(*words: str) -> bytes:
    answer = _git(*words)
    if answer is None:
        raise UserError(f"git cannot list the files to send (`git {' '.join(words)}` fails); give another --folder")
    return answer


def _ray_ignores(folder: Path, listed: Iterable[Path]) -> list[tuple[Path, GitIgnoreSpec]]:
    """Folder → what its ``.rayignore`` leaves out; also where git itself ignores that file."""
    places = {parent for file in listed for parent in file.parents}
    return [
        (place, _spec((folder / place / RAY_IGNORE).read_text().splitlines()))
        for place in sorted(places | {Path()})
        if (folder / place / RAY_IGNORE).is_file()
    ]


def _resolve_links(folder: Path, files: Sequence[Path], left_out: Counter[str]) -> list[Path]:
    """The files with links to folders replaced by what is sent of those.

    Raises:
        UserError: a link leads out of ``folder``: its content would travel unseen.
    """
    root = folder.resolve()
    plain = [file for file in files if not (folder / file).is_symlink()]
    sent = list(plain)
    for link in (file for file in files if (folder / file).is_symlink()):
        target = (folder / link).resolve()
        if not target.is_relative_to(root):
            raise UserError(
                f"{link} is a link that leaves {folder} (to {target}), and a job gets only what lies inside: put a "
                f"copy in its place, or name it in .gitignore or {RAY_IGNORE}"
            )
        if not target.exists():
            left_out["broken links"] += 1
        elif target.is_file():
            sent.append(link)
        elif link.is_relative_to(target.relative_to(root)):
            left_out["links to a folder around them"] += 1
        else:
            inside = target.relative_to(root)
            sent += [link / file.relative_to(inside) for file in plain if file.is_relative_to(inside)]
    return sent


def _refuse_secrets(folder: Path, files: Iterable[Path], include: Sequence[str]) -> None:
    """Refuse what looks like a secret, by name or as a private key, and is not included by name.

    Raises:
        UserError: with the files.
    """
    secrets, included = _spec(SECRETS), _spec(include)
    suspects = [
        file
        for file in files
        if not included.match_file(file.as_posix())
        and (
            secrets.match_file(file.as_posix())
            or secrets.match_file((folder / file).resolve().name)  # A link to one that git ignores.
            or _holds_private_key(folder / file)
        )
    ]
    if suspects:
        names = ", ".join(map(str, suspects[:NAMED])) + (
            f" and {len(suspects) - NAMED} more" if suspects[NAMED:] else ""
        )
        raise UserError(
            f"{names}: looks like a secret, which everybody on the cluster could read; name it in .gitignore or "
            f"{RAY_IGNORE}, or send it with --include {suspects[0]}"
        )


def _holds_private_key(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return any(line.startswith(b"-----BEGIN") and PRIVATE_KEY in line for line in head.splitlines())


def _spec(lines: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _below(file: Path, place: Path) -> bool:
    return place == Path() or file.is_relative_to(place)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
