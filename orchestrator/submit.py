"""Send our code and a command to a cluster as a Ray job, and follow it."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster import refused, token_hint
from orchestrator.provenance import GIT_VARIABLE, git_state
from trainers.errors import UserError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PATH_OPTIONS = ("--storage", "--data-root")


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
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"  # What is staged has been chosen; Ray would choose again.
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
