"""``nightshift leaderboard``: ask a leaderboard."""

import sys
from typing import Annotated

import typer

from orchestrator.cli import options

SHOWN = ("sweep", "trial", "arm", "seed", "evaluation_set", "checkpoint", "miou", "pixel_accuracy", "status")


def leaderboard(
    where: Annotated[
        list[str] | None, typer.Option(help="Condition such as 'miou>0.4' or 'evaluation_set=day_val'. Repeatable.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Column; the best comes first.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Single rows, not configurations over their seeds.")] = False,
    metric: Annotated[str, typer.Option(help="What configurations are ranked by.")] = "miou",
    columns: Annotated[str | None, typer.Option(help="Comma-separated columns to show.")] = None,
    sweep: Annotated[str | None, typer.Option(help="One sweep or run only.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many lines.")] = None,
    published: Annotated[bool, typer.Option("--published", help="The results that come with the code.")] = False,
    storage: options.Storage = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output, every column.")] = False,
    json: options.Json = False,
) -> None:
    """Filter, sort and group a leaderboard; by default, configurations over their seeds.

    Example: `nightshift leaderboard --where evaluation_set=day_val --sort miou --rows`
    """
    import warnings

    from orchestrator.cli.tables import show_frame, split_constants
    from orchestrator.preflight import default_storage
    from results.leaderboard import by_config, filter_rows, load, resolve_column, sort_rows

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = load("published" if published else storage or default_storage(), sweep=sweep)
    for warning in caught:
        sys.stderr.write(f"warning: {warning.message}\n")
    frame = filter_rows(frame, *(where or []))
    if not rows:
        frame = by_config(frame, metric)
    if sort is not None:
        frame = sort_rows(frame, sort)
    if limit is not None:
        frame = frame.head(limit)
    if columns is not None:
        frame = frame[[resolve_column(frame, name.strip()) for name in columns.split(",")]]
    elif rows and not (csv or json):
        varied = [name for name in frame.columns if name.startswith("params.") and frame[name].nunique() > 1]
        frame = frame[[*SHOWN, *varied]]
    if csv:
        sys.stdout.write(frame.to_csv(index=False))
    elif json:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso") + "\n")
    elif columns is not None:
        show_frame(frame)
    else:
        common, frame = split_constants(frame)
        show_frame(frame, title="  ".join(f"{name}={value}" for name, value in common.items()))
