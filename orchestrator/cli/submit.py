"""``nightshift submit``: a command as a job on a Ray cluster."""

from pathlib import Path
from typing import Annotated

import typer


def submit(
    words: Annotated[list[str], typer.Argument(metavar="-- VERB …", help="The command that the cluster is to run.")],
    address: Annotated[
        str | None,
        typer.Option(help="The cluster's dashboard. [default: $RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265]"),
    ] = None,
    folder: Annotated[Path, typer.Option(help="The code that is sent.")] = Path(),
    include: Annotated[
        list[str] | None,
        typer.Option(help="Send this file although it looks like a secret; a pattern of .gitignore's. Repeatable."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job's output until it ends.")] = True,
) -> None:
    """Send this folder and a command to a Ray cluster; the same command again continues what was interrupted.

    Example: `nightshift submit -- sweep demo --trials 20 --storage /shared/runs`
    """
    import tempfile

    from orchestrator.cli import app
    from orchestrator.parcel import pack
    from orchestrator.signals import Interrupted
    from orchestrator.submit import check_command, client, follow, send

    verbs = [command.name for command in app.registered_commands if command.name not in (None, "submit")]
    check_command(words, [name for name in verbs if name])
    parcel = pack(folder.resolve(), include=include or ())
    typer.echo(parcel.describe(), err=True)
    jobs, where = client(address)
    with tempfile.TemporaryDirectory(prefix="nightshift-") as staged:
        parcel.copy_to(Path(staged))
        job = send(jobs, words, Path(staged))
    commands = f"`ray job logs --follow {job}` shows it, `ray job stop {job}` ends it"
    if not wait:
        typer.echo(f"{job} is on {where}; {commands}", err=True)
        return
    typer.echo(f"{job} is on {where}; Ctrl-C leaves it running", err=True)
    try:
        status = follow(jobs, job, lambda text: typer.echo(text, nl=False))
    except Interrupted as stop:
        raise stop.named(f"{job} keeps running; {commands}") from None
    except BrokenPipeError:
        typer.echo(f"nightshift: {job} keeps running; {commands}", err=True)
        raise
    if status != "SUCCEEDED":
        typer.echo(f"nightshift: {job} ended as {status}; submit the same command again to continue", err=True)
        raise typer.Exit(1)
