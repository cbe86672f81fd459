"""Whether all that was asked for is there: the last words of a command that runs trials, and its exit code."""

from collections.abc import Callable, Mapping

import typer

UNSUCCESSFUL = ("failed", "diverged")
NAMED = 5
"""Trials of one status that are named; the leaderboard lists all."""


def exit_unless_complete(
    statuses: Mapping[str, str], *, retry: Callable[[str], str], num_open: int = 0, resume: str = ""
) -> None:
    """Say which trials failed or diverged and how many are open; exit with code 1 where any is.

    Args:
        statuses: Trial → its status, of all that have ended.
        retry: Status → the command that runs its trials again.
        num_open: How many trials have not ended.
        resume: The command that runs them.
    """
    parts = []
    for status in UNSUCCESSFUL:
        trials = sorted(trial for trial, ended in statuses.items() if ended == status)
        if trials:
            names = ", ".join(trials[:NAMED]) + (", …" if len(trials) > NAMED else "")
            parts.append(f"{len(trials)} of {len(statuses)} trials {status} ({names}): `{retry(status)}`")
    if num_open:
        parts.append(f"{num_open} trials are open: `{resume}`")
    if parts:
        typer.echo(f"nightshift: {'; '.join(parts)}", err=True)
        raise typer.Exit(1)
