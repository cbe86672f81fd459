"""``nightshift report``: one HTML file to read, to send and to keep."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import options
from trainers.errors import UserError


def report(
    sweep: Annotated[
        list[str] | None, typer.Option(help="Sweep or run to show. Repeatable; the newest ones when not given.")
    ] = None,
    output: Annotated[Path, typer.Option(help="HTML file; an existing one is replaced.")] = Path("report.html"),
    published: Annotated[bool, typer.Option("--published", help="The results that come with the code.")] = False,
    storage: options.Storage = None,
) -> None:
    """Summary with ties, search, classes, pictures, learning curves, stages and provenance in one HTML file.

    Example: `nightshift report --sweep demo-loss_alpha --output demo.html`
    """
    from orchestrator.cli.output import naming_skipped_files
    from orchestrator.reporting import gather
    from orchestrator.storage import storage_folder
    from results import leaderboard
    from results.report import MAX_CHAPTERS, render, write
    from trainers.data.label_spaces import COLORS

    if output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file in it, such as {output / 'report.html'}")
    source = "published" if published else storage_folder(storage)
    with naming_skipped_files():
        rows = leaderboard.load(source) if not sweep else _of_sweeps(source, sweep)
        curves = _curves(source, rows)
    if rows.empty:
        raise UserError(f"{source} has no rows yet; a report needs one trial that has ended")
    newest = rows.groupby("sweep")["created_utc"].max().sort_values(ascending=False).index
    if len(newest) > MAX_CHAPTERS:
        left_out = ", ".join(newest[MAX_CHAPTERS:][:5]) + (" …" if len(newest) > MAX_CHAPTERS + 5 else "")
        typer.echo(
            f"{len(newest) - MAX_CHAPTERS} older sweeps are left out ({left_out}); name some with --sweep", err=True
        )
        newest = newest[:MAX_CHAPTERS]
    rows = rows[rows["sweep"].isin(newest)]
    materials = {}
    if not isinstance(source, str):
        materials = {name: gather(source, name, rows[rows["sweep"] == name]) for name in newest}
    write(output, render(rows, curves, materials, colors=COLORS))
    typer.echo(f"{output}: {', '.join(newest)}, {output.stat().st_size / 1e6:.1f} MB")


def _of_sweeps(source, sweeps):  # type: ignore[no-untyped-def]
    import pandas as pd

    from results import leaderboard

    return pd.concat([leaderboard.load(source, sweep=name) for name in dict.fromkeys(sweeps)], ignore_index=True)


def _curves(source, rows):  # type: ignore[no-untyped-def]
    """The curves of the rows' sweeps; published results have none."""
    import pandas as pd

    from results import leaderboard

    if isinstance(source, str):
        return pd.DataFrame(columns=["sweep", "trial", "stage", "step", "metric", "value"])
    curves = leaderboard.curves(source)
    return curves[curves["sweep"].isin(rows["sweep"].unique())]
