"""Leaderboards as tables in a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator.cli.console import Console, standard_output


def print_overview(storage: Path, sweep: str, trials: Sequence[str] | None = None, *, most: int | None = None) -> None:
    """The leaderboard of a sweep (of some of its trials, ``most`` lines) as a table, and where the rows lie."""
    from results.leaderboard import load, not_compared

    rows = load(storage, sweep=sweep)
    if trials is not None:
        rows = rows[rows["trial"].isin(trials)]
    console = standard_output()
    table, apart = overview(rows), not_compared(rows)
    show_frame(table.head(most or len(table)), title=f"{sweep}: best checkpoint of each configuration", console=console)
    if most is not None and len(table) > most:
        rest = f"the best {most} of {len(table)} configurations; `nightshift leaderboard --sweep {sweep}` shows all"
        console.print(rest, soft_wrap=True)
    for note in apart:
        console.print(note, soft_wrap=True, markup=False)
    console.print(f"{len(rows)} rows of {rows['trial'].nunique()} trials in {storage / 'leaderboard'}", soft_wrap=True)


def overview(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per configuration: varied fields, seeds, and for each evaluation set the mean mIoU (%) of ``best``.

    Sorted by the set that checkpoints were selected on; where not all lines were scored on the same there, a column
    says on what, and those that were stand together. Of a set that a configuration was scored on twice, the newest
    counts. Configurations that never finished come last.
    """
    from orchestrator.cli.views import scored_on
    from results.leaderboard import CONFIG, by_config

    table = by_config(rows[(rows["checkpoint"] == "best") | (rows["status"] != "finished")])
    table = table.assign(scored=scored_on(table))
    texts = list(dict.fromkeys(table["scored"].dropna()))  # Of each set, what was scored last comes first.
    roles = rows.dropna(subset=["evaluation_set"]).drop_duplicates("evaluation_set")
    ordered = roles.sort_values(["split_role", "evaluation_set"], ascending=[False, True])["evaluation_set"].tolist()
    varied = [name for name in table.columns if name.startswith("params.")]
    lines = []
    for _, group in table.groupby(CONFIG, dropna=False, sort=False):
        first = group.iloc[0]
        group = group.drop_duplicates("evaluation_set")
        line = {name.removeprefix("params."): first[name] for name in ("experiment", "arm", *varied)}
        means = dict(zip(group["evaluation_set"], group["mean"], strict=True))
        spreads = dict(zip(group["evaluation_set"], group["sd"], strict=True))
        for name in ordered:
            spread = spreads.get(name)
            has_spread = spread is not None and pd.notna(spread)
            line[f"{name} mIoU %"] = _percent(means.get(name)) + (f" ± {100 * spread:.1f}" if has_spread else "")
        line["seeds"] = int(group["n"].max())
        ended = {status: int(group[status].max()) for status in ("pruned", "diverged", "failed")}
        line["ended otherwise"] = ", ".join(f"{count} {status}" for status, count in ended.items() if count)
        line["config"] = first["config_hash"]
        if texts and ordered:
            line["scored on"] = group.set_index("evaluation_set")["scored"].get(ordered[0])
        block = texts.index(line["scored on"]) if line.get("scored on") in texts else len(texts)
        lines.append(((block, -(means.get(ordered[0]) or 0.0) if ordered else 0.0), line))
    frame = pd.DataFrame([line for _, line in sorted(lines, key=lambda pair: pair[0])])
    return frame.drop(columns=[name for name in ("ended otherwise",) if name in frame and not frame[name].any()])


def show_frame(frame: pd.DataFrame, *, title: str | None = None, console: Console | None = None) -> None:
    """Print a frame; numbers right-aligned, absent values as –."""
    console = console or standard_output()
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in frame.columns:
        table.add_column(str(name), justify="right" if is_numeric(frame[name]) else "left", overflow="fold")
    for line in frame.itertuples(index=False):
        table.add_row(*cells(line))
    console.print(table)


def is_numeric(column: pd.Series) -> bool:
    """Whether a column stands right-aligned: numbers, or texts that begin with one."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return True
    texts = column.dropna().astype("str")
    return bool(len(texts)) and bool(texts.str.fullmatch(r"–|< [\d.]+|[+−-]?\d[\d.e+-]*( ± [\d.]+)?").all())


def split_constants(frame: pd.DataFrame) -> tuple[dict[str, object], pd.DataFrame]:
    """What every line shares, and the frame without it; columns without any value or count go."""
    counts = ("pruned", "diverged", "failed")
    names = "experiment preset metric seed_scope sweep arm baseline other test checkpoint evaluation_set"
    shared = names.split()
    empty = [name for name in frame if frame[name].isna().all() or (name in counts and not frame[name].any())]
    frame = frame.drop(columns=empty)
    constant = [name for name in shared if name in frame and len(frame) and frame[name].nunique(dropna=False) == 1]
    return {name: frame[name].iloc[0] for name in constant}, frame.drop(columns=constant)


def cells(values: Iterable[object]) -> list[str]:
    """Values as texts, absent ones as –."""
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    if isinstance(value, np.ndarray | list):
        return _list(value)
    return "–" if value is None or value is pd.NA or value is pd.NaT else str(value)


def _list(values: "Sequence[Any] | np.ndarray") -> str:
    """Stages by name, beginning of the key and seconds; anything else by its length."""
    if len(values) and isinstance(values[0], dict) and "key" in values[0]:
        return ", ".join(
            f"{stage['name']} {(stage['key'] or '–')[:8]} {'hit' if stage['hit'] else 'made'} {stage['seconds']:.0f} s"
            for stage in values
        )
    return f"{len(values)} values"


def _percent(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{100 * value:.1f}"
