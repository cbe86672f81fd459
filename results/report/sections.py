"""The sections of a report as plain values for the template, one function each."""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from results import leaderboard
from results.leaderboard import FEW_SEEDS
from results.report import graph, svg
from results.report.material import Material, Picture
from results.report.ranking import Ranking, percent, present, text
from results.schema import CLASS_NAMES

MAX_CONFIGURATIONS = 12
"""Columns of the class table; the summary shows more."""

MAX_SUMMARY = 60
MAX_LINES, MAX_POINTS = 60, 6000
"""Of a chart of curves: lines, and points of all lines together."""

LIGHT_FROM = 0.55
"""Share of the color scale from which black text reads better than white."""


def tiles(rows: pd.DataFrame, ranking: Ranking, material: Material) -> list[tuple[str, str, str]]:
    """(label, value, note) of the figures at the top."""
    trials = rows.drop_duplicates("trial")
    counts = trials["status"].value_counts()
    ended = ", ".join(f"{count} {status}" for status, count in counts.items())
    found = []
    if ranking.configurations:
        first = ranking.configurations[0]
        spread = f"95 % interval {percent(first.low)} – {percent(first.high)}" if first.low is not None else "one seed"
        found.append((f"best {ranking.metric_name}", f"{percent(first.mean)} %", f"{first.label}; {spread}"))
    planned = material.planned_trials
    progress = f"of {planned}; the rest is to come" if planned and planned > len(trials) else ended
    found.append(("trials", str(len(trials)), progress))
    if ranking.configurations:
        seeds = sorted({one.n for one in ranking.configurations})
        number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}"
        found.append(("configurations", str(len(ranking.configurations)), f"{number} seed{'s' * (seeds != [1])} each"))
    for line in leaderboard.cost(rows, "sweep").dropna(subset=["seconds"]).to_dict("records"):
        saved = line["seconds_saved"]
        note = f"{duration(saved)} ({100 * line['saved']:.0f} %) saved by sharing" if saved > 0 else "nothing shared"
        found.append(("compute", duration(line["seconds"]), note))
    return found


def summary(ranking: Ranking) -> dict[str, Any]:
    """The table of configurations with ranks, intervals and every evaluation set."""
    shown = ranking.configurations[:MAX_SUMMARY]
    if not shown:
        return {}
    # The interval of two seeds is 9 standard deviations wide: drawn to its end it would hide all others.
    wide = [value for one in shown if one.n >= FEW_SEEDS for value in (one.low, one.high) if value is not None]
    values = [*(one.mean for one in shown), *wide]
    air = 0.15 * (max(values) - min(values)) or 0.01
    domain = (min(values) - air, max(values) + air)
    lines = [
        {
            "place": one.place,
            "css": one.css,
            "label": one.label,
            "hash": one.hash,
            "n": one.n,
            "few": one.n < FEW_SEEDS,
            "mean": percent(one.mean),
            "interval": f"{percent(one.low)} – {percent(one.high)}" if one.low is not None else "",
            "plot": svg.whisker(one.mean, one.low, one.high, domain, one.css),
            "scores": [_score(one.scores.get(name)) for name in ranking.sets],
        }
        for one in shown
    ]
    few = any(line["few"] for line in lines)
    return {"lines": lines, "few": few, "hidden": len(ranking.configurations) - len(shown)}


def _score(score: tuple[float, float | None] | None) -> str:
    if score is None:
        return "–"
    return percent(score[0]) + (f" ± {percent(score[1])}" if score[1] is not None else "")


def curves(points: pd.DataFrame, rows: pd.DataFrame, ranking: Ranking) -> list[tuple[str, Markup]]:
    """(title, chart) of each stage and metric; the best configurations in color, on top."""
    if points.empty:
        return []
    order = {one.hash: (place, one) for place, one in enumerate(ranking.configurations)}
    trials = rows.drop_duplicates("trial")[["trial", "config_hash", "seed", "status"]].to_dict("records")
    trials = sorted(trials, key=lambda row: order.get(row["config_hash"], (len(order), None))[0])[:MAX_LINES]
    points = points[points["trial"].isin([row["trial"] for row in trials]) & points["value"].notna()]
    room = max(20, MAX_POINTS // max(1, len(trials)))
    found = []
    for (stage, metric), table in points.groupby(["stage", "metric"], sort=False):
        by_trial = dict(iter(table.sort_values("step").groupby("trial", sort=False)))
        lines = []
        for row in reversed(trials):  # The best is drawn last, on top.
            own = by_trial.get(row["trial"])
            if own is None:
                continue
            _, one = order.get(row["config_hash"], (0, None))
            own = own.iloc[np.unique(np.linspace(0, len(own) - 1, min(len(own), room)).round().astype(int))]
            title = one.label if one is not None else f"{row['trial']} ({row['status']})"
            pairs = list(zip(own["step"].astype(float), own["value"].astype(float), strict=True))
            lines.append(svg.Line(pairs, one.css if one is not None else "lost", f"{title}, seed {row['seed']}"))
        if lines and max(len(line.points) for line in lines) > 1:
            name = str(metric).replace("_", " ")
            found.append((f"{stage}: {name}", svg.line_chart(lines, x="step", y=name)))
    return found


def classes(rows: pd.DataFrame, ranking: Ranking) -> list[dict[str, Any]]:
    """Per evaluation set: a line for each class that occurs, with its share of pixels and its IoU by configuration."""
    shown = ranking.configurations[:MAX_CONFIGURATIONS]
    if not shown:
        return []
    table = leaderboard.per_class(rows[rows["checkpoint"] == "best"])
    found = []
    for name in ranking.sets:
        own = table[table["evaluation_set"] == name]
        means = own.set_index(["config_hash", "class"])["mean"].to_dict()
        frequency = own.groupby("class", sort=False)["frequency"].mean().sort_values(ascending=False, kind="stable")
        lines = [
            {
                "name": str(one).replace("_", " "),
                "frequency": f"{100 * share:.2g} %" if present(share) is not None else "–",
                "width": round(100 * (share / frequency.max()) ** 0.5, 1) if share > 0 else 0,
                "cells": [_cell(present(means.get((configuration.hash, one)))) for configuration in shown],
            }
            for one, share in frequency.items()
        ]
        found.append({"name": name, "lines": lines, "heads": [(one.css, one.label, one.place) for one in shown]})
    return found


def _cell(value: float | None) -> dict[str, str]:
    if value is None:
        return {"text": "–", "style": ""}
    ink = "#000" if value >= LIGHT_FROM else "#fff"
    return {"text": f"{100 * value:.0f}", "style": f"background:{svg.color(value)};color:{ink}"}


def stages(rows: pd.DataFrame, material: Material) -> dict[str, Any]:
    """The graph and its table: what was needed, what was made, what sharing saved."""
    costs = leaderboard.cost(rows, "stage")
    if costs.empty:
        return {}
    hits = _hits(rows)
    # Evaluations of both checkpoints are one node.
    merged = costs.assign(node=costs["stage"].map(_node)).groupby("node", sort=False)
    columns = ["uses", "distinct", "seconds", "seconds_unshared", "seconds_saved"]
    nodes, lines = {}, []
    for node, own in merged:
        total = own[columns].sum()
        method = material.methods.get(own["stage"].iloc[0], "")
        uses, distinct = int(total["uses"]), int(total["distinct"])
        each = duration(total["seconds"] / distinct)
        nodes[str(node)] = graph.Node(
            str(node), method, (method, f"{uses} uses: {distinct} × {each}"), 1 - distinct / uses
        )
        lines.append(
            {
                "name": node,
                "method": method,
                "uses": uses,
                "made": distinct,
                "hits": hits.get(str(node), 0),
                "each": each,
                "spent": duration(total["seconds"]),
                "saved": duration(total["seconds_saved"]) if total["seconds_saved"] > 0 else "–",
            }
        )
    links = {(_node(one), _node(two)) for one, two in material.links}
    known = sorted(link for link in links if set(link) <= set(nodes))
    return {"graph": graph.draw(nodes, known) if known else "", "lines": lines}


def _node(stage: str) -> str:
    return stage.partition("@")[0]


def _hits(rows: pd.DataFrame) -> Counter[str]:
    """How often a trial found an artifact that it needed, by node."""
    return Counter(
        _node(stage["name"])
        for stages_of_trial in rows.drop_duplicates("trial")["stages"]
        if stages_of_trial is not None
        for stage in stages_of_trial
        if stage["hit"]
    )


def pictures(material: Material, *, max_bytes: int) -> dict[str, Any]:
    """Per stage its panels, each a row of pictures; one that ``max_bytes`` of the file have no room for is left out."""
    room = max_bytes
    panels: dict[tuple[str, str], list[Picture]] = {}
    for one in material.pictures:
        panels.setdefault((one.stage, one.title), []).append(one)
    groups: dict[str, list[dict[str, Any]]] = {}
    left_out = 0
    for (stage, title), own in panels.items():
        size = sum(len(one.png) for one in own) * 4 // 3
        if size > room:
            left_out += 1
            continue
        room -= size
        caption = next((one.caption for one in own if one.caption), "")
        panel = {"title": title, "caption": caption, "tiles": [_tile(one) for one in own]}
        groups.setdefault(stage, []).append(panel)
    return {"of": material.pictures_of, "groups": groups, "left_out": left_out} if groups else {}


def _tile(picture: Picture) -> dict[str, str]:
    return {"kind": picture.kind, "source": "data:image/png;base64," + b64encode(picture.png).decode()}


def endings(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials that did not finish, newest first, with what they said."""
    lost = rows[rows["status"] != "finished"].drop_duplicates("trial").sort_values("created_utc", ascending=False)
    return [
        {
            "trial": line["trial"],
            "status": line["status"],
            "failure": line["failure_class"] if isinstance(line["failure_class"], str) else "",
            "varied": _varied(line["varied"]),
            "seed": line["seed"],
            "message": line["message"] if isinstance(line["message"], str) else "",
        }
        for line in lost.to_dict("records")
    ]


def _varied(fields: Any) -> str:
    """The searched fields and their values; ``fields`` is their JSON, or what pandas makes of NULL."""
    if not isinstance(fields, str):
        return ""
    return ", ".join(f"{name} {text(value)}" for name, value in json.loads(fields).items())


def provenance(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """(what, distinct values) of where the rows come from."""
    versions: dict[str, set[str]] = {}
    for one in rows["versions"].dropna().unique():
        for name, version in json.loads(one).items():
            versions.setdefault(name, set()).add(version)
    packages = ", ".join(f"{name} {'/'.join(sorted(versions[name]))}" for name in sorted(versions))
    span = rows["created_utc"]
    seeds = sorted(int(seed) for seed in rows["seed"].dropna().unique())
    return [
        ("command", _distinct(rows["command"])),
        ("commit", _commits(rows)),
        ("hardware", _distinct(rows["hardware"])),
        ("packages", [packages] if packages else []),
        ("rows written", [f"{span.min():%Y-%m-%d %H:%M} to {span.max():%Y-%m-%d %H:%M} UTC"]),
        ("seeds", [f"{', '.join(map(str, seeds))}; scope {', '.join(_distinct(rows['seed_scope']))}"]),
        ("experiment", [f"{one} ({two})" for one, two in _pairs(rows, "experiment", "preset")]),
    ]


def _commits(rows: pd.DataFrame) -> list[str]:
    return [
        f"{commit}, with uncommitted changes {changes}" if changes else str(commit)
        for commit, changes in _pairs(rows, "git_commit", "git_diff_hash")
        if commit
    ]


def _pairs(rows: pd.DataFrame, one: str, two: str) -> Iterable[tuple[str | None, str | None]]:
    pairs: Mapping[tuple[str | None, str | None], None] = dict.fromkeys(
        (a if isinstance(a, str) else None, b if isinstance(b, str) else None)
        for a, b in zip(rows[one], rows[two], strict=True)
    )
    return list(pairs)


def _distinct(series: pd.Series) -> list[str]:
    return [str(value) for value in series.dropna().unique()]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in two or three digits."""
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def palette(colors: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    """(class, CSS color) for the legend of label pictures."""
    return [
        (name.replace("_", " "), "rgb({},{},{})".format(*one)) for name, one in zip(CLASS_NAMES, colors, strict=True)
    ]
