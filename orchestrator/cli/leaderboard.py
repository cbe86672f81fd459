"""``nightshift leaderboard`` and ``nightshift compare``: ask a leaderboard."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    import pandas as pd


@options.grouped
def leaderboard(
    where: options.Conditions = None,
    sort: Annotated[str | None, typer.Option(help="Column; the best comes first.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Single rows, not configurations over their seeds.")] = False,
    group: Annotated[
        str | None, typer.Option(help="Only the best configuration of each value of these columns, as in --group arm.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Evaluation sets side by side (best checkpoint).")] = False,
    pareto: Annotated[
        str | None, typer.Option(metavar="COST", help="Who is on the front of --metric and this, as in total_seconds.")
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="IoU of every class, and how frequent it is.")] = False,
    curves: Annotated[str | None, typer.Option(metavar="METRIC", help="Learning curves, such as loss.")] = None,
    cost: Annotated[
        Literal["stage", "sweep", "all"] | None, typer.Option(help="What was spent, and what sharing saved, by this.")
    ] = None,
    failures: Annotated[bool, typer.Option("--failures", help="What was pruned, diverged or failed, and why.")] = False,
    metric: Annotated[str, typer.Option(help="What configurations are ranked by.")] = "miou",
    columns: Annotated[str | None, typer.Option(help="Comma-separated columns to show.")] = None,
    sweep: Annotated[str | None, typer.Option(help="One sweep or run only.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many lines.")] = None,
    published: options.Published = False,
    storage: options.Storage = None,
    *,
    output: options.Output,
) -> None:
    """Filter, sort and group a leaderboard; by default, configurations over their seeds, with ranks and ties.

    Example: `nightshift leaderboard --where evaluation_set=day_val --sort miou --rows`
    """
    form = output.form
    question = options.only_one(
        {
            "rows": rows, "group": group, "wide": wide, "pareto": pareto, "per-class": per_class, "curves": curves,
            "cost": cost, "failures": failures,
        }
    )  # fmt: skip

    import results.leaderboard as board
    from orchestrator.cli import views
    from orchestrator.cli.output import naming_skipped_files, write
    from orchestrator.cli.tables import overview
    from orchestrator.storage import storage_folder

    source: str | Path = "published" if published else storage_folder(storage)
    with naming_skipped_files():
        frame = board.filter_rows(board.load(source, sweep=sweep), *(where or []))
        points = board.curves(source, metric=curves) if curves is not None else None
    grouped = [name.strip() for name in (group or "").split(",")]
    answers: dict[str | None, tuple[Callable[[], pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]] = {
        None: (lambda: board.by_config(frame, metric), views.configurations),
        "rows": (lambda: frame, views.rows),
        "group": (lambda: board.best(frame, metric, by=grouped), views.configurations),
        "wide": (lambda: overview(frame), lambda table: table),
        "pareto": (lambda: board.pareto(frame, metric, str(pareto)), views.pareto_front),
        "per-class": (lambda: board.per_class(frame), views.classes),
        "curves": (lambda: _curves(points, frame), views.learning_curves),
        "cost": (lambda: board.cost(frame, cost or "stage"), views.costs),
        "failures": (lambda: board.failures(frame), views.failures),
    }
    ask, view = answers[question]
    table = ask()
    notes = views.notes(table) if question in (None, "group") else []
    if question in (None, "rows", "group", "wide", "pareto", "per-class"):
        notes += board.not_compared(frame, metric)
    if sort is not None:
        table = board.sort_rows(table, sort)
    if limit is not None:
        table = table.head(limit)
    if columns is not None:
        table = table[[board.resolve_column(table, name.strip()) for name in columns.split(",")]]
        view, notes = _as_it_is, []
    write(table, form, view, notes=[*_nothing(table), *notes, *_open_trials(source, sweep, frame)])


@options.grouped
def compare(
    baseline: Annotated[str, typer.Argument(help="An arm, a sweep, SWEEP:ARM, a configuration's hash, or conditions.")],
    others: Annotated[list[str], typer.Argument(help="What is compared with it, named the same way.")],
    where: options.Conditions = None,
    metric: Annotated[list[str] | None, typer.Option(help="What is compared. Repeatable. [default: miou]")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Compare the IoU of every class.")] = False,
    sort: Annotated[str | None, typer.Option(help="Column, such as difference.")] = None,
    published: options.Published = False,
    storage: options.Storage = None,
    *,
    output: options.Output,
) -> None:
    """Is B better than A, and by how much: differences to the first one, paired by seed, with interval and p.

    An arm or a sweep with several configurations is represented by its best on the select split. Conditions are as in
    'arm=supervised,train.loss.alpha<0.3'. Several comparisons at once are corrected by Holm's rule.

    Example: `nightshift compare day night --published --where checkpoint=best`
    """
    form = output.form
    options.only_one({"metric": metric, "per-class": per_class})

    import results.leaderboard as board
    from orchestrator.cli import views
    from orchestrator.cli.output import naming_skipped_files, write
    from orchestrator.storage import storage_folder

    source: str | Path = "published" if published else storage_folder(storage)
    with naming_skipped_files():
        frame = board.filter_rows(board.load(source), *(where or []))
    metrics = board.class_metrics(frame) if per_class else metric or ["miou"]
    table = board.compare(frame, baseline, *others, metric=metrics)
    if sort is not None:
        table = board.sort_rows(table, sort, ascending=True)
    write(table, form, views.comparison, notes=_open_trials(source, None, frame))


def _curves(points: "pd.DataFrame | None", frame: "pd.DataFrame") -> "pd.DataFrame":
    """Curves over seeds, of the trials that the conditions left."""
    from results.leaderboard import curves_by_config

    assert points is not None
    return curves_by_config(points[points["trial"].isin(frame["trial"])])


def _as_it_is(table: "pd.DataFrame") -> "pd.DataFrame":
    return table


def _nothing(table: "pd.DataFrame") -> list[str]:
    return [] if len(table) else ["no row: nothing has ended yet, or no row satisfies the conditions"]


def _open_trials(source: str | Path, sweep: str | None, frame: "pd.DataFrame") -> list[str]:
    """One line for each sweep that is not at its end."""
    if source == "published":
        return []
    from orchestrator.ledger import sweep_names
    from orchestrator.pending import pending
    from orchestrator.storage import resume_command

    storage = Path(source)
    known = [name for name in sweep_names(storage) if (storage / "sweeps" / name / "request.json").is_file()]
    shown = set(frame["sweep"]) if len(frame) else set(known)
    names = [name for name in known if name in shown and sweep in (None, name)]
    return [
        f"{one.sweep}: {one.ended} trials have ended, {one.open} are open "
        f"(`{resume_command(storage, one.sweep)}`, if it does not run already)"
        for one in pending(storage, names)
    ]
