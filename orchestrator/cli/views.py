"""Answers of a leaderboard as a person reads them: scores in %, intervals in one cell, what is empty left out."""

from collections.abc import Iterable

import pandas as pd

from results.columns import PROTOCOL_OF_SCORE, scored_columns
from results.schema import SCORE_NAMES, STATUSES
from results.scored import described

RAW_ROWS = ("sweep", "trial", "arm", "seed", "evaluation_set", "checkpoint", "miou", "pixel_accuracy", "status")
_SCORES = {*SCORE_NAMES, "worst_iou"}


def configurations(table: pd.DataFrame) -> pd.DataFrame:
    """``by_config`` or ``best``: one line each, mean ± sd and the interval of the metric."""
    metrics = table["metric"]
    lines = pd.DataFrame(
        {
            **_named(table, ("experiment", "preset", "seed_scope", "arm", *_params(table))),
            **_named(table, ("evaluation_set", "checkpoint")),
            "scored on": scored_on(table),
            "place": table["place"],
            _header(metrics): _spread(table, metrics),
            "95 % interval": _intervals(table["low"], table["high"], metrics),
            "seeds": table["n"],
            "ended otherwise": _ended_otherwise(table),
            "config": table["config_hash"],
        }
    )
    return _without_empty(lines)


def comparison(table: pd.DataFrame) -> pd.DataFrame:
    """``compare``: one line each; differences in percentage points where the metric is a score."""
    metrics = table["metric"]
    signed = [_number(value, metric, "+") for value, metric in zip(table["difference"], metrics, strict=True)]
    lines = pd.DataFrame(
        {
            **_named(table, ("experiment", "preset", "seed_scope", "evaluation_set", "checkpoint", "metric")),
            "scored on": scored_on(table),
            "baseline": _labels(table, "baseline"),
            "other": _labels(table, "other"),
            "baseline mean": _numbers(table["baseline_mean"], metrics),
            "other mean": _numbers(table["other_mean"], metrics),
            "difference": signed,
            "95 % interval": _intervals(table["low"], table["high"], metrics, "+"),
            "test": table["test"],
            "n": table["n"],
            "p": [_p(value) for value in table["p"]],
            "p (Holm)": [_p(value) for value in table["p_holm"]] if len(table) > 1 else None,
            "other is": table["verdict"],
            "note": table["note"],
        }
    )
    return _without_empty(lines)


def pareto_front(table: pd.DataFrame) -> pd.DataFrame:
    """``pareto``: the front marked."""
    score, cost = table["score"], table["cost"]
    renamed = table.rename(columns={"score_mean": "mean", "score_low": "low", "score_high": "high"})
    lines = pd.DataFrame(
        {
            **_named(table, ("experiment", "preset", "seed_scope", "arm", *_params(table))),
            **_named(table, ("evaluation_set", "checkpoint")),
            "scored on": scored_on(table),
            "front": ["yes" if value else "" for value in table["on_front"]],
            _header(score): _numbers(renamed["mean"], score),
            "95 % interval": _intervals(renamed["low"], renamed["high"], score),
            _header(cost): _numbers(table["cost_mean"], cost),
            "seeds": table["n"],
            "config": table["config_hash"],
        }
    )
    return _without_empty(lines)


def classes(table: pd.DataFrame) -> pd.DataFrame:
    """``per_class``: one line per class, one column per configuration and evaluation set; IoU in %."""
    named = ("arm", "config_hash", "seed_scope", "preset", "experiment", "checkpoint")
    # Of what tells the columns apart, only what they differ in.
    shown = [name for name in named if table[name].nunique(dropna=False) > 1]
    if {"arm", "config_hash"} <= set(shown) and table.groupby("arm")["config_hash"].nunique().max() == 1:
        shown.remove("config_hash")
    parts = [table[name].astype("str") for name in [*shown, "evaluation_set"]]
    parts += [one.astype("str") for one in [scored_on(table)] if one is not None]
    column = parts[0] if parts else pd.Series(dtype="str")
    for part in parts[1:]:
        column = column + " " + part
    cells = table.assign(column=column, cell=_spread(table, ["miou"] * len(table)))
    wide = cells.pivot_table(index="class", columns="column", values="cell", aggfunc="first", sort=False)
    shares = 100 * table.groupby("class", sort=False)["frequency"].mean()
    wide.insert(0, "pixels %", [f"{shares[name]:.2f}" if pd.notna(shares[name]) else None for name in wide.index])
    return _without_empty(wide.reset_index().rename_axis(columns=None))


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """``cost``: minutes."""
    minutes = {"seconds": "minutes", "seconds_unshared": "without sharing", "seconds_saved": "saved"}
    lines = table.drop(columns="saved").rename(columns=minutes)
    for name in minutes.values():
        lines[name] = [f"{value / 60:.1f}" if pd.notna(value) else None for value in lines[name]]
    lines.insert(list(lines.columns).index("saved") + 1, "saved %", [_percent(value) for value in table["saved"]])
    if "unrecorded" in lines and not lines["unrecorded"].any():
        lines = lines.drop(columns="unrecorded")
    return lines


def optimism(table: pd.DataFrame) -> pd.DataFrame:
    """``optimism``: mIoU in %, what the sweep claimed beside what is confirmed."""
    miou = ["miou"] * len(table)
    confirmed = table.rename(columns={"confirmed_mean": "mean", "confirmed_sd": "sd"})
    lines = pd.DataFrame(
        {
            "sweep rank": table["sweep_rank"],
            **_named(table, _params(table)),
            "evaluation set": table["evaluation_set"],
            "in the sweep %": _numbers(table["sweep_mean"], miou),
            "fresh seeds %": _numbers(table["fresh_mean"], miou),
            "held-out set": table["held_out_set"],
            "held out %": _spread(confirmed, miou),
            "place": table["place"],
            "optimism": [_number(value, "miou", "+") for value in table["optimism"]],
            "95 % interval": _intervals(table["low"], table["high"], miou, "+"),
            "seeds": table["n"],
            "note": table["note"],
        }
    )
    return _without_empty(lines)


def optimism_notes(table: pd.DataFrame, sweep: str) -> list[str]:
    """What the numbers mean."""
    told = [f"optimism = mean in {sweep} − mean of the fresh seeds on the held-out set, in points of mIoU"]
    if (table["n"] < 2).any():
        told.append("one fresh seed has no interval: --seeds 3 runs more")
    return told


def learning_curves(table: pd.DataFrame) -> pd.DataFrame:
    """``curves_by_config`` or single curves: as they are, without what is the same everywhere."""
    return table.drop(columns=[name for name in ("sd", "median", "preset", "status", "attempt") if name in table])


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """Single rows: the columns that are read most, and those that a search varied."""
    varied = [name for name in table.columns if name.startswith("params.") and table[name].nunique() > 1]
    return table[[*RAW_ROWS, *varied]]


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """What did not finish, and why."""
    return table[["sweep", "trial", "arm", "seed", "status", "failure_class", "message", "created_utc"]]


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader of ``configurations`` should know: too few seeds, and trials that are not ranked."""
    told = []
    ranked = table[table["n"] > 0]
    singles, few = int((ranked["n"] == 1).sum()), int((ranked["n"] == 2).sum())
    if singles:
        told.append(f"{singles} lines of one seed: no interval, and no rank apart from the others; run more (--seeds)")
    if few:
        told.append(f"{few} lines of two seeds: such an interval says little")
    ended = table.drop_duplicates(["experiment", "preset", "arm", "config_hash", "seed_scope"])[
        list(STATUSES[1:])
    ].sum()
    if ended.any():
        counted = ", ".join(f"{count} {status}" for status, count in ended.items() if count)
        told.append(f"not ranked: {counted} (--failures says why)")
    return told


def _named(table: pd.DataFrame, names: Iterable[str]) -> dict[str, pd.Series]:
    return {name.removeprefix("params."): table[name] for name in names}


def scored_on(table: pd.DataFrame) -> pd.Series | None:
    """What lines were scored on, where lines of one evaluation set differ in it."""
    metric = table["metric"].iloc[0] if "metric" in table and len(table) else "miou"
    metric = table["score"].iloc[0] if "score" in table and len(table) else metric
    columns = scored_columns(metric)
    if not set(columns) <= set(table.columns):
        return None
    scored = table[[*columns]].astype("object")
    told = pd.Series(
        [described(one) for one in scored.where(scored.notna(), None).itertuples(index=False, name=None)], table.index
    )
    by_name = [table[name] for name in PROTOCOL_OF_SCORE]
    return told if len(table) and told.groupby(by_name, dropna=False).nunique().max() > 1 else None


def _params(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name.startswith("params.")]


def _header(metrics: pd.Series) -> str:
    metric = str(metrics.iloc[0]) if len(metrics) else "metric"
    return f"{metric} %" if metric in _SCORES else metric


def _labels(table: pd.DataFrame, side: str) -> list[str]:
    """What was asked for, and the configuration where the name does not say it."""
    return [
        name if config.startswith(name) else f"{name} ({config})"
        for name, config in zip(table[side], table[f"{side}_config"], strict=True)
    ]


def _number(value: float, metric: str, sign: str = "") -> str:
    if pd.isna(value):
        return "–"
    text = f"{100 * value:{sign}.1f}" if metric in _SCORES else f"{value:{sign}.4g}"
    return text.replace("-", "−") if sign else text


def _numbers(values: pd.Series, metrics: Iterable[str]) -> list[str]:
    return [_number(value, metric) for value, metric in zip(values, metrics, strict=True)]


def _spread(table: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    return [
        _number(mean, metric) + (f" ± {_number(sd, metric)}" if pd.notna(sd) else "")
        for mean, sd, metric in zip(table["mean"], table["sd"], metrics, strict=True)
    ]


def _intervals(low: pd.Series, high: pd.Series, metrics: Iterable[str], sign: str = "") -> list[str | None]:
    return [
        f"[{_number(one, metric, sign)}, {_number(other, metric, sign)}]" if pd.notna(one) else None
        for one, other, metric in zip(low, high, metrics, strict=True)
    ]


def _percent(share: float) -> str | None:
    return f"{100 * share:.0f}" if pd.notna(share) else None


def _p(value: float) -> str | None:
    if pd.isna(value):
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _ended_otherwise(table: pd.DataFrame) -> list[str | None]:
    lines = table[list(STATUSES[1:])].itertuples(index=False)
    return [
        ", ".join(f"{count} {name}" for name, count in zip(STATUSES[1:], line, strict=True) if count) or None
        for line in lines
    ]


def _without_empty(lines: pd.DataFrame) -> pd.DataFrame:
    return lines.loc[:, [not lines[name].isna().all() for name in lines.columns]] if len(lines) else lines
