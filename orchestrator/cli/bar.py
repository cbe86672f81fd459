"""A progress bar for a loop of known length."""

from collections.abc import Iterable
from typing import Any


def bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """``items`` with a bar on standard error, in a terminal only; results go to standard output."""
    from rich.progress import track

    from orchestrator.cli.console import standard_error

    console = standard_error()
    return track(
        items, total=total, description=description, console=console, transient=True, disable=not console.is_terminal
    )
