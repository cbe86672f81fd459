"""Render the tables of the README files from ``results/published/*.parquet``.

A table lives between ``<!-- table: NAME -->`` and ``<!-- end -->``, each on a line of its own; what stands
between them is replaced. ``python -m results.tables`` rewrites the files, ``--check`` only compares (exit
code 1 if they differ). A marker that cannot be understood is an error (exit code 2) and no file is changed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from results import leaderboard
from results.exports import markdown
from results.schema import COLUMNS
from results.scored import require_comparable
from results.studies import (
    ADAPTATION,
    BALANCING_QUESTIONS,
    BIMIX_QUESTIONS,
    DEHAZING,
    DUSK,
    DUSK_SELF_TRAINING,
    LABEL_BALANCING,
    LADDER,
    NIGHT_PAIRS,
    NIGHT_SWEEPS,
    NIGHT_TRANSLATION,
    SELF_TRAINING,
    SELF_TRAINING_QUESTIONS,
    SWEEPS,
)
from results.study_tables import NO_RUNS, proxies_table, questions_table, study_table

ROOT = Path(__file__).parents[1]
START, END = "<!-- table: ", "<!-- end -->"
DEPTHS = ("", "[!.]*/", "[!.]*/[!.]*/")


def columns_table(rows: pd.DataFrame) -> str:
    """The columns of ``leaderboard/scores`` from the schema; the 19 class columns in one line."""
    del rows
    lines = []
    for column in COLUMNS:
        unit = "" if column.unit == "JSON" else column.unit
        kind = "JSON" if column.unit == "JSON" else str(column.type).split("<")[0].split("[")[0]
        if not column.name.startswith("iou."):
            lines.append((f"`{column.name}`", kind, unit, column.meaning))
        elif column.name == "iou.road":
            lines.append(("`iou.<class>`", kind, unit, "IoU of each of the 19 classes (`iou.traffic_light` …)"))
    return markdown(("column", "type", "unit", "meaning"), lines)


def leaderboard_table(experiment: str, rows: pd.DataFrame) -> str:
    """Each configuration of one experiment with the mIoU (%) of its best checkpoint on every evaluation set.

    The set that checkpoints were selected on comes first and sorts the table; ± is the standard deviation
    over seeds. Trials that did not finish are counted below.
    """
    rows = rows[rows["experiment"] == experiment]
    if rows.empty:
        return NO_RUNS
    require_comparable(rows)
    scores = leaderboard.by_config(rows[(rows["checkpoint"] == "best") | (rows["status"] != "finished")])
    finished = scores[scores["n"] > 0]
    role = rows.dropna(subset=["evaluation_set"]).drop_duplicates("evaluation_set")
    is_selected = dict(zip(role["evaluation_set"], role["split_role"] == "select", strict=True))
    sets = sorted(finished["evaluation_set"].unique(), key=lambda name: (not is_selected[name], name))
    varied = [name for name in finished.columns if name.startswith("params.")]
    grouped = list(finished.groupby(leaderboard.CONFIG, dropna=False, sort=False))
    grouped.sort(key=lambda pair: [-_mean(pair[1], name) for name in sets])
    lines = [_line(group, rows, varied, sets) for _, group in grouped]
    head = (
        "arm",
        *(f"`{name.removeprefix('params.')}`" for name in varied),
        *sets,
        "seeds",
        "hardware",
        "commit",
    )
    unfinished = len(leaderboard.failures(rows).drop_duplicates(["sweep", "trial"]))
    note = f"\n\n{unfinished} further trials did not finish." if unfinished else ""
    return markdown(head, lines) + note


def gaps_table(rows: pd.DataFrame) -> str:
    """Toy City: mIoU (%) of the best checkpoint on every domain's test split, a line for each domain trained on.

    In brackets the share of what training on the tested domain itself reaches.
    """
    rows = rows[(rows["experiment"] == "toy_city") & (rows["checkpoint"] == "best") & (rows["split_role"] == "report")]
    if rows.empty:
        return NO_RUNS
    require_comparable(rows)
    scores = leaderboard.by_config(rows)
    mean = scores.pivot_table(index="arm", columns="evaluation_set", values="mean", sort=False)
    spread = scores.pivot_table(index="arm", columns="evaluation_set", values="sd", sort=False)
    domains = [arm for arm in mean.index if f"{arm}_test" in mean.columns]
    lines = []
    for arm in domains:
        cells = []
        for domain in domains:
            value, own = mean.loc[arm, f"{domain}_test"], mean.loc[domain, f"{domain}_test"]
            share = "" if domain == arm else f" ({100 * value / own:.0f} %)"
            cells.append(f"{100 * value:.1f} ± {100 * spread.loc[arm, f'{domain}_test']:.1f}{share}")
        lines.append((arm, *cells, str(scores.loc[scores["arm"] == arm, "n"].max())))
    return markdown(("trained on", *(f"tested on {domain}" for domain in domains), "seeds"), lines)


def early_stopping_table(rows: pd.DataFrame) -> str:
    """Sweeps ``early_stopping_<scheduler>_<seed>``: the same configurations with and without early stopping.

    Best mIoU (%) on the split that selects, and the training steps of the whole sweep.
    """
    named = rows["sweep"].str.extract(r"^early_stopping_(?P<scheduler>none|asha)_(?P<sweep_seed>\d+)$")
    rows = rows.assign(**named)[named["scheduler"].notna()]
    if rows.empty:
        return NO_RUNS
    trials = rows.drop_duplicates(["sweep", "trial"])
    # Rows of before pruned trials had steps say them only in their message.
    said = pd.to_numeric(trials["message"].str.extract(r"stopped at step (\d+)")[0]).astype("Int64")
    trials = trials.assign(steps=trials["steps"].fillna(said))
    best = rows[(rows["split_role"] == "select") & (rows["checkpoint"] == "best")]
    require_comparable(best)
    lines = []
    for seed in sorted(trials["sweep_seed"].unique()):
        cells, spent = [], {}
        for scheduler in ("none", "asha"):
            mine = trials[(trials["sweep_seed"] == seed) & (trials["scheduler"] == scheduler)]
            spent[scheduler] = int(mine["steps"].sum())
            top = best.loc[best["sweep"].isin(mine["sweep"]), "miou"].max()
            stopped = int((mine["status"] == "pruned").sum())
            cells += [f"{100 * top:.1f}", f"{spent[scheduler]:,}", *([f"{stopped} of {len(mine)}"] * (stopped > 0))]
        lines.append((seed, *cells, f"{100 * spent['asha'] / spent['none']:.0f} %"))
    head = ("sweep seed", "best, none", "steps, none", "best, ASHA", "steps, ASHA", "stopped", "ASHA's share of steps")
    return markdown(head, lines)


TABLES: dict[str, Callable[[pd.DataFrame], str]] = {
    "columns": columns_table,
    "leaderboard camvid": partial(leaderboard_table, "camvid"),
    "early stopping": early_stopping_table,
    "leaderboard demo": partial(leaderboard_table, "demo"),
    "toy city gaps": gaps_table,
    "augmentation ladder": partial(study_table, LADDER),
    "game to day": partial(study_table, ADAPTATION),
    "proxies": partial(proxies_table, SWEEPS),
    "day to dusk": partial(study_table, DUSK),
    "night with pairs": partial(study_table, NIGHT_PAIRS),
    "bi-mix questions": partial(questions_table, "bimix", "toy_city", BIMIX_QUESTIONS),
    "night translation": partial(study_table, NIGHT_TRANSLATION),
    "label to image": partial(leaderboard_table, "label_to_image"),
    "dehazing": partial(study_table, DEHAZING),
    "night self-training": partial(study_table, SELF_TRAINING),
    "the thesis's claims": partial(questions_table, "night_self_training", "toy_city", SELF_TRAINING_QUESTIONS),
    "self-training at dusk": partial(study_table, DUSK_SELF_TRAINING),
    "night proxies": partial(proxies_table, NIGHT_SWEEPS),
    "label balancing": partial(study_table, LABEL_BALANCING),
    "is the generator worth it": partial(questions_table, "label_balancing", "toy_city", BALANCING_QUESTIONS),
}
"""Every table that a README may ask for: the published rows → Markdown."""


def render(text: str, rows: pd.DataFrame) -> str:
    """``text`` with every marked region filled. Raises ValueError for an unknown table or an open region."""
    done: list[str] = []
    is_open = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(START):
            name = line.removeprefix(START).removesuffix("-->").strip()
            if is_open:
                raise ValueError(f"line {number}: a table starts before the last one ended ({END})")
            if name not in TABLES:
                raise ValueError(f"line {number}: no table {name!r}: there are {', '.join(TABLES)}")
            done += [line, "", TABLES[name](rows), ""]
            is_open = True
        elif line == END and is_open:
            done.append(line)
            is_open = False
        elif not is_open:
            done.append(line)
    if is_open:
        raise ValueError(f"the last table has no end ({END})")
    return "\n".join(done) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Render or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m results.tables", description="Render the READMEs' tables.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a table is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder whose README.md files are rendered")
    options = parser.parse_args(arguments)
    rows = leaderboard.load("published")
    paths = sorted(path for depth in DEPTHS for path in options.root.glob(f"{depth}README.md"))
    rendered: dict[Path, str] = {}
    for path in paths:
        before = path.read_text(encoding="utf-8")
        if START not in before:
            continue
        try:
            after = render(before, rows)
        except ValueError as error:
            sys.stderr.write(f"{path}: {error}\n")
            return 2
        if after != before:
            rendered[path] = after
    for path, after in rendered.items():
        sys.stdout.write(f"{path}: {'out of date, run make tables' if options.check else 'rendered'}\n")
        if not options.check:
            path.write_text(after, encoding="utf-8")
    return 1 if options.check and rendered else 0


def _line(group: pd.DataFrame, rows: pd.DataFrame, varied: list[str], sets: list[str]) -> list[str]:
    """One configuration's cells; ``group`` holds its statistics, one row per evaluation set."""
    first = group.iloc[0]
    own = rows[(rows["config_hash"] == first["config_hash"]) & (rows["arm"] == first["arm"])]
    fields = [_value(first[name]) for name in varied]
    scores = [_score(group, name) for name in sets]
    origin = [_distinct(own["hardware"]), _distinct(own["git_commit"].str[:10])]
    return [first["arm"], *fields, *scores, str(group["n"].max()), *origin]


def _mean(group: pd.DataFrame, evaluation_set: str) -> float:
    values = group.loc[group["evaluation_set"] == evaluation_set, "mean"]
    return float(values.iloc[0]) if len(values) else -1.0


def _score(group: pd.DataFrame, evaluation_set: str) -> str:
    row = group[group["evaluation_set"] == evaluation_set]
    if row.empty:
        return "–"
    spread = f" ± {100 * row['sd'].iloc[0]:.1f}" if row["n"].iloc[0] > 1 else ""
    return f"{100 * row['mean'].iloc[0]:.1f}{spread}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return "–" if value is pd.NA or value is None else json.dumps(value) if isinstance(value, bool) else str(value)


def _distinct(series: pd.Series) -> str:
    return ", ".join(sorted(series.dropna().unique())) or "–"


if __name__ == "__main__":
    sys.exit(main())
