"""Send our code and a command to a cluster as a Ray job: which files, how large, and is it let in."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cluster import refused, token_hint
from orchestrator.provenance import GIT_VARIABLE, git_state
from trainers.errors import UserError

LIMIT_BYTES = 100 * 2**20
"""What Ray's dashboard takes in one request."""

NEVER_SENT = (
    ".git", ".venv", "venv", "runs", "__pycache__", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache",
    ".hypothesis", "build", "dist",
)  # fmt: skip
"""Beside what the folder's ``.gitignore`` names, in its syntax."""

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PATH_OPTIONS = ("--storage", "--data-root")


@dataclass(frozen=True)
class Parcel:
    """The files of a folder that a job needs."""

    folder: Path
    files: tuple[Path, ...]
    """Relative to ``folder``."""

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum((self.folder / file).stat().st_size for file in self.files)

    def largest(self, count: int = 10) -> list[tuple[Path, int]]:
        """File and its bytes, the largest first."""
        sizes = [(file, (self.folder / file).stat().st_size) for file in self.files]
        return sorted(sizes, key=lambda item: -item[1])[:count]

    def copy_to(self, target: Path) -> None:
        """Copy the files, and nothing else."""
        for file in self.files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / file, target / file)


def pack(folder: Path, limit_bytes: int = LIMIT_BYTES) -> Parcel:
    """What of ``folder`` is sent: all but what ``.gitignore`` and ``NEVER_SENT`` name.

    Raises:
        UserError: it is too large; names the ten largest files.
    """
    from pathspec import GitIgnoreSpec

    ignored = folder / ".gitignore"
    spec = GitIgnoreSpec.from_lines([*(ignored.read_text().splitlines() if ignored.is_file() else ()), *NEVER_SENT])
    files: list[Path] = []
    for root, folders, names in os.walk(folder):
        here = Path(root).relative_to(folder)
        folders[:] = sorted(name for name in folders if not spec.match_file(f"{(here / name).as_posix()}/"))
        files += [
            here / name
            for name in sorted(names)
            if not spec.match_file((here / name).as_posix()) and (folder / here / name).is_file()
        ]
    parcel = Parcel(folder, tuple(files))
    if parcel.size_bytes > limit_bytes:
        largest = ", ".join(f"{file} {_megabytes(size)}" for file, size in parcel.largest())
        raise UserError(
            f"{folder} has {_megabytes(parcel.size_bytes)} to send, and a job may have {_megabytes(limit_bytes)}; "
            f"name in .gitignore what it does not need. The largest files: {largest}"
        )
    return parcel


def check_command(words: Sequence[str], verbs: Sequence[str]) -> None:
    """Refuse here what the job would refuse there: an unknown verb, a storage or data root that is not absolute.

    Raises:
        UserError: with the word.
    """
    if not words or words[0] not in verbs:
        raise UserError(
            f"after -- comes a command of nightshift, as in `nightshift submit -- sweep demo`; got {words!r}"
        )
    paths = {**_given(words), **_assigned(words)}
    for option, path in paths.items():
        if not Path(path).is_absolute():
            raise UserError(f"{option} {path} is relative, and a job's folder is thrown away; give an absolute path")
    default = os.environ.get("NIGHTSHIFT_STORAGE", "")
    if "--storage" not in paths and not Path(default).is_absolute():
        raise UserError("a job needs --storage with an absolute path that all nodes share (or NIGHTSHIFT_STORAGE)")


def client(address: str | None) -> tuple[Any, str]:
    """Ray's client for jobs, and where it is connected to.

    Raises:
        UserError: nobody answers there, or the token is missing or wrong.
    """
    where = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    if asks_for_token(where):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Read when Ray is imported; else it sends no token.
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)  # Else every file that is packed is worth a line.
    try:
        made = JobSubmissionClient(where)
        made.list_jobs()
    except Exception as error:
        raise UserError(token_hint(where) if asks_for_token(where) else refused(error, where)) from error
    return made, where


def asks_for_token(address: str) -> bool:
    """Whether the dashboard turns away whoever has no token; Ray's client only says that it cannot connect."""
    import urllib.error
    import urllib.request

    if not address.startswith(("http://", "https://")):
        return False
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=10).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False
    return False


def send(jobs: Any, words: Sequence[str], staged: Path) -> str:
    """Submit the command with the files in ``staged``; the job's id."""
    variables = {"NIGHTSHIFT_STORAGE": os.environ["NIGHTSHIFT_STORAGE"]} if "NIGHTSHIFT_STORAGE" in os.environ else {}
    commit, difference = git_state()
    if commit is not None:
        variables[GIT_VARIABLE] = f"{commit}+{difference}" if difference else commit
    return str(
        jobs.submit_job(
            entrypoint=shlex.join(["python", "-m", "orchestrator", *words]),
            runtime_env={"working_dir": str(staged), "env_vars": variables},
        )
    )


def follow(jobs: Any, job: str, write: Callable[[str], None]) -> str:
    """Write what the job prints until it ends; its last status."""
    import asyncio

    async def lines() -> None:
        async for text in jobs.tail_job_logs(job):
            write(text)

    asyncio.run(lines())
    return str(jobs.get_job_status(job).value)


def _given(words: Sequence[str]) -> dict[str, str]:
    """Option → path, for ``--option path`` and ``--option=path``."""
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in PATH_OPTIONS:
            found[option] = value if equals else following
    return found


def _assigned(words: Sequence[str]) -> dict[str, str]:
    """``data.NAME.root`` → path, of each ``--set``."""
    found = {}
    for word in words:
        name, equals, value = word.removeprefix("--set=").partition("=")
        if equals and name.startswith("data.") and name.endswith(".root"):
            found[name] = value
    return found


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
