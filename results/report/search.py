"""What the search found: slices, parallel coordinates, and what can be had at which cost."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from results import pareto_front
from results.report import svg
from results.report.material import Material
from results.report.ranking import Configuration, Ranking, percent, present, short, text, thinned

MAX_MARKS, MAX_PARALLEL = 1000, 200
"""Of a chart: marks, and lines of parallel coordinates."""

PROXIES = ("source_miou", "target_infomax")
"""Objectives that need no target labels; a plot shows what they are worth."""


def plots(rows: pd.DataFrame, ranking: Ranking, material: Material) -> list[tuple[str, Markup, str]]:
    """(title, chart, what to look at) of every plot that two configurations at least make possible."""
    if len(ranking.configurations) < 2:
        return []
    found = []
    if material.importances:
        chart = svg.bars([(one.name, one.share, one.sd) for one in material.importances])
        found.append(("Importance", chart, material.importance_note))
    for name in ranking.varied:
        found.append((f"Slice: {name}", _slice(ranking, name, log=name in material.log_fields), ""))
    found.append(_pareto(ranking))
    found += _proxies(rows, ranking)
    return [(title, chart, note) for title, chart, note in found if chart]


def parallel(ranking: Ranking) -> Markup:
    """Every configuration as a line over its fields, its scores and what the search maximized."""
    configurations = list(reversed(thinned(ranking.configurations, MAX_PARALLEL)))  # The best is drawn last, on top.
    if len(configurations) < 2 or not ranking.varied:
        return Markup()
    others = [name for name in ranking.sets if not _is_metric(name, ranking)]
    axes = [*(short(name) for name in ranking.varied), *(f"{name} %" for name in others), f"{ranking.metric_name} %"]
    lines = []
    for one in configurations:
        values = [_axis_value(one.varied.get(name)) for name in ranking.varied]
        scores = [one.scores.get(name, (0.0, None))[0] * 100 for name in others]
        lines.append(([*values, *scores, 100 * one.mean], one.css, _title(one, ranking)))
    return svg.parallel(axes, lines)


def _is_metric(name: str, ranking: Ranking) -> bool:
    """Whether the mIoU on a set is what the configurations are ranked by, under another name."""
    return all(abs(one.scores.get(name, (-1.0, None))[0] - one.mean) < 1e-9 for one in ranking.configurations)


def _axis_value(value: object) -> float | str:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else text(value)


def _slice(ranking: Ranking, name: str, *, log: bool) -> Markup:
    points = []
    for one in reversed(thinned(ranking.configurations, MAX_MARKS)):
        value = one.varied.get(name)
        if value is None:
            continue
        points.append(_point(one, _axis_value(value), ranking))
    if any(isinstance(point.x, str) for point in points):
        points = [svg.Point(str(point.x), point.y, point.css, point.title) for point in points]
    if len({point.x for point in points}) < 2:
        return Markup()
    return svg.scatter(points, x=name, y=f"{ranking.metric_name} %", log_x=log)


def _pareto(ranking: Ranking) -> tuple[str, Markup, str]:
    known = [one for one in ranking.configurations if one.seconds is not None]
    if len(known) < 2:
        return "", Markup(), ""
    is_on_front = pareto_front.front(np.array([(-(one.seconds or 0.0), one.mean) for one in known]))
    kept = thinned(known, MAX_MARKS)
    points = [_point(one, one.seconds or 0.0, ranking, whisker=False) for one in reversed(kept)]
    front = sorted((one.seconds or 0.0, 100 * one.mean) for one, on in zip(known, is_on_front, strict=True) if on)
    chart = svg.scatter(points, x="seconds for a trial, nothing shared", y=f"{ranking.metric_name} %", front=front)
    return "Score and cost", chart, "The stairs join what nothing beats at a lower cost."


def _proxies(rows: pd.DataFrame, ranking: Ranking) -> list[tuple[str, Markup, str]]:
    """For each proxy and each split that is reported on: does a higher proxy mean a better score?"""
    finished = rows[(rows["status"] == "finished") & (rows["checkpoint"] == "best") & (rows["split_role"] != "select")]
    colors = {one.hash: one.css for one in ranking.configurations}
    found = []
    for proxy in PROXIES:
        for evaluation_set, table in finished.groupby("evaluation_set"):
            table = table[table[proxy].notna() & table["miou"].notna()]
            if len(table) < 4 or table[proxy].nunique() < 2:
                continue
            shown = table.iloc[:: -(-len(table) // MAX_MARKS)]
            points = [
                svg.Point(
                    100 * line[proxy],
                    100 * line["miou"],
                    colors.get(line["config_hash"], "other"),
                    f"{line['trial']}, seed {line['seed']}: {percent(line[proxy])} → {percent(line['miou'])}",
                )
                for line in shown[["config_hash", "trial", "seed", "miou", proxy]].to_dict("records")
            ]
            correlation = present(table[proxy].corr(table["miou"], method="spearman"))
            name = proxy.replace("miou", "mIoU").replace("_", " ")
            chart = svg.scatter(points, x=f"{name} %", y=f"{evaluation_set} mIoU %")
            note = f"Each mark is a trial; rank correlation {correlation:.2f}." if correlation is not None else ""
            found.append((f"Proxy: {name} → {evaluation_set}", chart, note))
    return found


def _point(one: Configuration, x: float | str, ranking: Ranking, *, whisker: bool = True) -> svg.Point:
    shown = whisker and one.n > 2  # Of two seeds the interval is so wide that it would be all there is to see.
    low, high = (100 * value if shown and value is not None else None for value in (one.low, one.high))
    return svg.Point(x, 100 * one.mean, one.css, _title(one, ranking), low, high)


def _title(one: Configuration, ranking: Ranking) -> str:
    seeds = "1 seed" if one.n == 1 else f"{one.n} seeds"
    return f"{one.label}: {ranking.metric_name} {percent(one.mean)} % ({seeds})"
