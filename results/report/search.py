"""What the search found: slices, parallel coordinates, and what can be had at which cost."""

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from results.report import svg
from results.report.material import Material
from results.report.ranking import Configuration, Ranking, percent, present, short, text

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
    configurations = list(reversed(ranking.configurations))  # The best is drawn last, on top.
    if len(configurations) < 2 or not ranking.varied:
        return Markup()
    others = [name for name in ranking.sets if not (ranking.metric == "miou" and name == ranking.sets[0])]
    axes = [*(short(name) for name in ranking.varied), *(f"{name} %" for name in others), f"{ranking.metric_name} %"]
    lines = []
    low, high = (pick(one.mean for one in configurations) for pick in (min, max))
    for one in configurations:
        values = [_axis_value(one.varied.get(name)) for name in ranking.varied]
        scores = [one.scores.get(name, (0.0, None))[0] * 100 for name in others]
        share = (one.mean - low) / (high - low) if high > low else 1.0
        lines.append(([*values, *scores, 100 * one.mean], share, _title(one, ranking)))
    return svg.parallel(axes, lines)


def _axis_value(value: object) -> float | str:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else text(value)


def _slice(ranking: Ranking, name: str, *, log: bool) -> Markup:
    points = []
    for one in reversed(ranking.configurations):
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
    points = [_point(one, one.seconds or 0.0, ranking, whisker=False) for one in reversed(known)]
    front = pareto([(one.seconds or 0.0, 100 * one.mean) for one in known])
    chart = svg.scatter(points, x="seconds for a trial, nothing shared", y=f"{ranking.metric_name} %", front=front)
    return "Score and cost", chart, "The stairs join what nothing beats at a lower cost."


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) pairs that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


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
            points = [
                svg.Point(
                    100 * line["source_miou" if proxy == "source_miou" else proxy],
                    100 * line["miou"],
                    colors.get(line["config_hash"], "other"),
                    f"{line['trial']}, seed {line['seed']}: {percent(line[proxy])} → {percent(line['miou'])}",
                )
                for line in table.to_dict("records")
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
