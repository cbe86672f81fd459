"""A progress bar for a loop of known length."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

LINE_EVERY_SECONDS = 10.0
"""Without a terminal, progress is a line at this distance."""


def bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """``items`` with a bar on standard error, in a terminal; elsewhere with a line now and then."""
    from rich.progress import track

    from orchestrator.cli.console import standard_error

    console = standard_error()
    if not console.is_terminal:
        return _lines(items, total, description)
    return track(items, total=total, description=description, console=console, transient=True)


def _lines(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    told = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - told > LINE_EVERY_SECONDS:
            told = time.monotonic()
            sys.stderr.write(f"{description}: {number} of {total}\n")
        yield item
