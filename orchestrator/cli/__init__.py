"""The command line: ``nightshift VERB …``. One file per group of verbs; heavy imports happen inside the verbs."""

import contextlib
import errno
import signal
import sys
from typing import Any, NoReturn

import typer

from orchestrator import signals
from orchestrator.cli import data, leaderboard, predict, profile, report, run, show, storage, submit, sweep
from orchestrator.cli.console import escaped
from orchestrator.cli.verb import Verb
from trainers.errors import UserError

app = typer.Typer(
    name="nightshift",
    help="Experiments in domain-adaptive semantic segmentation: cached stages, Ray sweeps, Parquet leaderboards.",
    epilog="Exit codes: 0 all that was asked for is there; 1 a trial failed, diverged or is open, or a problem was "
    "found; 2 a mistake in what was asked; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal, 141 by "
    "a closed pipe.",
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
for command in (*app.registered_commands, *data.app.registered_commands):
    command.cls = Verb

INTERRUPTED = 130
"""What Typer makes of a KeyboardInterrupt that a library raised."""

CLOSED_PIPE = 128 + signal.SIGPIPE

UsageError: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it cannot read; it has no public name of its own."""


def main() -> None:
    """Run the command and exit with its code: see the epilog of ``--help``."""
    try:
        with signals.interruptible():
            code = _run()
            sys.stdout.flush()
    except signals.Interrupted as stop:
        with contextlib.suppress(OSError):  # The terminal may be what has gone.
            sys.stderr.write(escaped(f"nightshift: {stop.message or 'interrupted; the same command continues'}\n"))
        code = 128 + stop.number
    except BrokenPipeError:
        if not any(signals.reader_is_gone(descriptor) for descriptor in (1, 2)):
            raise  # Another pipe's.
        code = CLOSED_PIPE
    finally:
        signals.drop_output()
    sys.exit(code)


def _run() -> int | None:
    """Run the command; a user's mistake is one line on standard error and exit code 2."""
    try:
        code: int | None = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise signals.Interrupted(signal.SIGINT)
        return code
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer and Rich make code 1 of it.
            return CLOSED_PIPE
        raise
    except UsageError as error:
        message = error.format_message().rstrip(".")
        if not message:  # Nothing was asked for, and the help has been printed.
            sys.exit(2)
        fail(f"{message}; --help says what there is")
    except UserError as error:
        fail(str(error))
    except OSError as error:
        from orchestrator.access import denied_path, is_denied, no_access

        if is_denied(error):
            fail(no_access(denied_path(error)))
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # A closed pipe among them.
        fail(f"no space is left ({error}); free some and give the same command again: it continues")
    except ValueError as error:
        # The leaderboard's own errors; its module is imported only where a leaderboard is read.
        if not type(error).__module__.startswith("results."):
            raise
        fail(str(error))


def fail(message: str) -> NoReturn:
    """One line and exit code 2."""
    sys.stderr.write(escaped(f"nightshift: {' '.join(message.split())}\n"))
    sys.exit(2)
