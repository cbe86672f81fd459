"""What each class gains and loses in the arms of a study, against the arm that the study compares them with."""

from typing import Any

import pandas as pd

from results import leaderboard
from results.report.ranking import Ranking

MAX_ARMS = 12
"""Columns of a table, those of the best arms."""


def changes(rows: pd.DataFrame, ranking: Ranking, baseline: str | None) -> list[dict[str, Any]]:
    """Per evaluation set: a line for each class that occurs, the rarest first, with every arm's difference in points.

    Nothing where no baseline is known, where no trial of it or of another arm has finished, and where arms cannot be
    compared.
    """
    best = rows[(rows["status"] == "finished") & (rows["checkpoint"] == "best")]
    arm_of = dict(zip(best["config_hash"], best["arm"], strict=True))
    arms = list(dict.fromkeys(arm_of[one.hash] for one in ranking.configurations))
    shown = [arm for arm in arms if arm != baseline][:MAX_ARMS]
    metrics = leaderboard.class_metrics(best)
    if baseline is None or baseline not in arms or not shown or not metrics:
        return []
    try:  # Without their sweep, for an arm may be called as its sweep is.
        table = leaderboard.compare(best.assign(sweep=""), baseline, *shown, metric=metrics)
    except leaderboard.LeaderboardError:  # Arms of other seed scopes: the report has other sections.
        return []
    frequency = leaderboard.per_class(best[best["arm"] == baseline]).set_index(["evaluation_set", "class"])["frequency"]
    rarest = frequency.groupby(level=[0, 1]).mean().sort_values(kind="stable")
    found = []
    for name in ranking.sets:
        own = table[table["evaluation_set"] == name]
        lines = {(line["metric"].removeprefix("iou."), line["other"]): line for line in own.to_dict("records")}
        told = {one for one, _ in lines}
        classes = [one for where, one in rarest.index if where == name and one in told]
        if classes:
            cells = [
                {"name": one.replace("_", " "), "cells": [_cell(lines.get((one, arm))) for arm in shown]}
                for one in classes
            ]
            found.append({"name": name, "baseline": baseline, "heads": shown, "lines": cells})
    return found


def _cell(line: dict[Any, Any] | None) -> dict[str, Any]:
    """Points as text, the interval as title, and whether that excludes 0."""
    if line is None:
        return {"text": "–", "title": "", "bold": False}
    seeds = f"{line['n']} seed{'s' * (line['n'] != 1)}"
    low, high = 100 * line["low"], 100 * line["high"]
    has_interval = bool(pd.notna(line["low"]))
    title = f"{low:+.1f} … {high:+.1f}, {seeds}" if has_interval else seeds
    return {
        "text": f"{100 * line['difference']:+.1f}",
        "title": title,
        "bold": has_interval and (low > 0 or high < 0),
    }
