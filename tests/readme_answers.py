"""Answers in the README: what its ``$ nightshift … --published`` commands print, rendered by ``make tables``.

A block is fenced as ``console``; each command in it is followed by its output. ``python -m tests.readme_answers``
rewrites them; a test compares.
"""

import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
PROMPT = "$ nightshift "
BLOCK = re.compile(r"(?<=```console\n).*?(?=```\n)", flags=re.DOTALL)


def answer(command: str) -> str:
    """What a command prints, in this process; lines without trailing blanks."""
    from orchestrator.cli import main

    out = io.StringIO()
    words = ["nightshift", *shlex.split(command)]
    with (
        contextlib.redirect_stdout(out),
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
    ):
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"{PROMPT}{command} ends with code {stop.code}") from stop
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(line for line in lines if line)


def render(text: str) -> str:
    """``text`` with every answer renewed."""

    def renew(block: re.Match[str]) -> str:
        commands = [line.removeprefix(PROMPT) for line in block[0].splitlines() if line.startswith(PROMPT)]
        return "\n\n".join(f"{PROMPT}{command}\n{answer(command)}" for command in commands) + "\n"

    return BLOCK.sub(renew, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
