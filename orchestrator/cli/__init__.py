"""The command line: ``nightshift VERB …``. One file per group of verbs; heavy imports happen inside the verbs."""

import errno
import sys
from typing import Any

import typer

from orchestrator.cli import data, leaderboard, predict, profile, report, run, show, storage, submit, sweep
from trainers.errors import UserError

app = typer.Typer(
    name="nightshift",
    help="Experiments in domain-adaptive semantic segmentation: cached stages, Ray sweeps, Parquet leaderboards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("resume")(sweep.resume)
app.command("confirm")(sweep.confirm)
app.command("list")(show.list_experiments)
app.command("show")(show.show)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("compare")(leaderboard.compare)
app.command("profile")(profile.profile)
app.command("predict")(predict.predict)
app.command("report")(report.report)
app.command("doctor")(storage.doctor)
app.command("gc")(storage.gc)
app.command("submit")(submit.submit)
app.add_typer(data.app, name="data")

INTERRUPTED = 130
"""What Typer makes of a KeyboardInterrupt."""

UsageError: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it cannot read; it has no public name of its own."""


def main() -> None:
    """Run the command; a user's mistake is one line on standard error and exit code 2."""
    code = None
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        message = error.format_message().rstrip(".")
        if not message:  # Nothing was asked for, and the help has been printed.
            sys.exit(2)
        fail(f"{message}; --help says what there is")
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"no space is left ({error}); free some and give the same command again: it continues")
    except ValueError as error:
        # The leaderboard's own errors; its module is imported only where a leaderboard is read.
        if not type(error).__module__.startswith("results."):
            raise
        fail(str(error))
    if code == INTERRUPTED:
        sys.stderr.write("interrupted; the same command continues where this one stopped\n")
    sys.exit(code)


def fail(message: str) -> None:
    """One line and exit code 2."""
    sys.stderr.write(f"nightshift: {' '.join(message.split())}\n")
    sys.exit(2)
