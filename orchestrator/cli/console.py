"""Consoles that leave it to us what a closed pipe means."""

import sys

import rich.console


class Console(rich.console.Console):
    """A console of Rich that raises where a pipe has no reader any more, instead of ending the process with code 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error that Rich is handling: ``main`` or ``Progress`` decides."""
        raise


def standard_error() -> Console:
    """The console of progress and notes; results go to standard output."""
    return Console(file=sys.stderr, highlight=False, emoji=False)


def standard_output() -> Console:
    """The console of results; lines are not broken at 80 columns where there is no terminal."""
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=200)
