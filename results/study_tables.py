"""Tables of whole studies: every arm on the target domain, and its difference to the arm without adaptation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from results import leaderboard
from results.columns import TOTAL_SECONDS
from results.comparison import verdicts
from results.exports import markdown
from results.schema import SCORE_NAMES
from results.scored import require_comparable
from results.statistics import holm

NO_RUNS = "no published runs yet"


@dataclass(frozen=True)
class Measure:
    """A column of the leaderboard, or the mean of several, on one evaluation set."""

    name: str
    evaluation_set: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Which arms stand in a table, in which order, and what they are measured by."""

    experiment: str
    preset: str
    target: str
    """Evaluation set of the domain that counts."""
    source: str
    """Evaluation set of the labeled domain: what an adaptation forgets."""
    arms: tuple[str, ...]
    """The first is what all others are compared with."""
    also: tuple[str, ...] = ()
    """Further evaluation sets, each a column; an arm without one has a dash there."""
    measures: tuple["Measure", ...] = ()
    """What else is measured, each a column."""
    said: Mapping[str, str] = field(default_factory=dict)
    """Arm → mIoU (%) that the document gives for it."""
    unjudged: tuple[str, ...] = ()
    """Arms that break a rule on purpose: their scores stand there, without a comparison."""


def study_table(study: Study, rows: pd.DataFrame) -> str:
    """A line for each arm with published runs: mIoU (%) ± sd of the best checkpoint, and the paired difference.

    The interval is the 95 % t-interval over common seeds, the verdict by p after Holm's correction over the table.
    Steps, unlabeled images and seconds are means over seeds; hits count with what they had cost. What a search made of
    an arm is no part of the study.
    """
    rows = _of_study(rows, study.experiment, study.preset)
    arms = [arm for arm in study.arms if (rows["arm"] == arm).any()]
    if study.arms[0] not in arms:
        return NO_RUNS
    differences = _differences(study, rows, [arm for arm in arms if arm not in study.unjudged])
    lines = [_line(study, rows[rows["arm"] == arm], arm, differences.get(arm)) for arm in arms]
    said = ("the document",) if study.said else ()
    head = (
        "arm",
        f"`{study.target}`",
        f"against `{arms[0]}` (95 %)",
        "verdict",
        *said,
        f"`{study.source}`",
        *(f"`{name}`" for name in study.also),
        *(measure.name for measure in study.measures),
    )
    return markdown((*head, "steps", "unlabeled", "seconds", "seeds"), lines)


@dataclass(frozen=True)
class Question:
    """What one arm is compared with another for, and where."""

    text: str
    baseline: str
    arm: str
    evaluation_set: str
    said: str = ""
    """Difference in mIoU points that the document gives."""
    measure: Measure | None = None
    """Scores of classes whose mean is compared instead of the mIoU, on the same evaluation set."""

    def __post_init__(self) -> None:
        """Refuse a measure that is no mean of scores, for better is more here, and one of another set."""
        if self.measure is not None and not set(self.measure.columns) <= set(SCORE_NAMES):
            raise ValueError(f"{self.measure.name} of {self.text!r} is no mean of scores")
        if self.measure is not None and self.measure.evaluation_set != self.evaluation_set:
            raise ValueError(f"{self.measure.name} of {self.text!r} is not measured on {self.evaluation_set}")

    def compared(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The comparison of the two arms, paired by seed."""
        rows = rows[rows["evaluation_set"] == self.evaluation_set]
        if self.measure is not None:
            rows = rows.assign(miou=rows[list(self.measure.columns)].astype(float).mean(axis=1))
        return leaderboard.compare(rows, self.baseline, self.arm)

    def where(self) -> str:
        """Arms, evaluation set and, where it is not the mIoU, what is compared."""
        measured = "" if self.measure is None else f", {self.measure.name}"
        return f"`{self.arm}` against `{self.baseline}`, `{self.evaluation_set}`{measured}"


def questions_table(experiment: str, preset: str, questions: Sequence[Question], rows: pd.DataFrame) -> str:
    """A line for each question whose two arms have published runs: mIoU (%), or measure, of both, and the difference.

    Intervals as in ``study_table``; the verdict is by p after Holm's correction over all questions together.
    """
    rows = _of_study(rows, experiment, preset)
    known = set(rows["arm"])
    asked = [one for one in questions if {one.baseline, one.arm} <= known]
    if not asked:
        return NO_RUNS
    found = pd.concat(one.compared(rows) for one in asked)
    is_said = any(one.said for one in asked)
    found["verdict"] = verdicts(found.assign(p_holm=holm(found["p"])))
    lines = [
        (
            question.text,
            question.where(),
            f"{100 * line['other_mean']:.1f} : {100 * line['baseline_mean']:.1f}",
            _difference(line),
            str(line["verdict"]),
            *([question.said or "–"] if is_said else []),
            str(line["n"]),
        )
        for question, (_, line) in zip(asked, found.iterrows(), strict=True)
    ]
    said = ("the document",) if is_said else ()
    score = "mean IoU" if any(one.measure for one in asked) else "mIoU"
    return markdown(("question", "arms", score, "difference (95 %)", "verdict", *said, "seeds"), lines)


PROXIES = {"infomax": "target_infomax", "source mIoU": "source_miou"}
"""What can be known without target labels: name in the table → column."""


def proxies_table(sweeps: Mapping[str, str], rows: pd.DataFrame) -> str:
    """For each sweep: how well objectives without target labels order its configurations as the target's labels do.

    Kendall's τ with the mIoU of the best checkpoint on the sweep's report split (``sweeps``: sweep → evaluation set),
    in brackets the two-sided p; then that mIoU (%) of the configuration that each proxy would have chosen.
    """
    from scipy import stats  # Nothing else of this package needs it, and whoever only reads has no use for it.

    lines = []
    for sweep, target in sweeps.items():
        mine = rows[(rows["sweep"] == sweep) & (rows["checkpoint"] == "best") & (rows["evaluation_set"] == target)]
        mine = mine[mine["status"] == "finished"]
        for metric in ("miou", *PROXIES.values()):
            require_comparable(mine, metric)
        mine = mine.groupby("config_hash")[["miou", *PROXIES.values()]].mean()
        if len(mine) < 3:
            continue
        orders, chosen = [], []
        for column in PROXIES.values():
            tau = stats.kendalltau(mine[column], mine["miou"])
            orders.append(f"{tau.statistic:+.2f} ({tau.pvalue:.2g})")
            chosen.append(f"{100 * mine['miou'].iloc[int(mine[column].argmax())]:.1f}")
        spread = f"{100 * mine['miou'].min():.1f} … {100 * mine['miou'].max():.1f}"
        lines.append([f"`{sweep}`", str(len(mine)), f"`{target}` {spread}", *orders, *chosen])
    if not lines:
        return NO_RUNS
    head = (
        "sweep",
        "configurations",
        "oracle",
        *(f"τ of {one}" for one in PROXIES),
        *(f"{one} chooses" for one in PROXIES),
    )
    return markdown(head, lines)


def _of_study(rows: pd.DataFrame, experiment: str, preset: str) -> pd.DataFrame:
    """The finished rows of the best checkpoints that no search varied.

    Without the hundreds of ``params.*``, which pandas would copy at every step and no table of a study reads.
    """
    rows = rows.loc[:, ~rows.columns.str.startswith("params.")]
    rows = rows[(rows["experiment"] == experiment) & (rows["preset"] == preset) & (rows["varied"] == "{}")]
    rows = rows[(rows["checkpoint"] == "best") & (rows["status"] == "finished")]
    require_comparable(rows)
    return rows


def _differences(study: Study, rows: pd.DataFrame, arms: list[str]) -> dict[str, pd.Series]:
    """Arm → its comparison with the first one on the target."""
    if len(arms) < 2:
        return {}
    on_target = rows[rows["evaluation_set"] == study.target]
    table = leaderboard.compare(on_target, *arms)
    return {str(line["other"]): line for _, line in table.iterrows()}


def _line(study: Study, rows: pd.DataFrame, arm: str, difference: pd.Series | None) -> list[str]:
    target = rows[rows["evaluation_set"] == study.target]
    against, verdict = "–", "–"
    if difference is not None:
        against, verdict = _difference(difference), str(difference["verdict"])
    said = [study.said.get(arm, "–")] if study.said else []
    seconds = (target["seconds"] + target["seconds_saved"].fillna(0)).rename(TOTAL_SECONDS)
    unlabeled = target["unlabeled_images"].mean()
    return [
        f"`{arm}`",
        _score(target["miou"]),
        against,
        verdict,
        *said,
        *(_score(rows.loc[rows["evaluation_set"] == name, "miou"]) for name in (study.source, *study.also)),
        *(_measured(rows, measure) for measure in study.measures),
        f"{target['steps'].mean():,.0f}",
        "–" if pd.isna(unlabeled) else f"{unlabeled:.0f}",
        f"{seconds.mean():,.0f}",
        str(target["seed"].nunique()),
    ]


def _difference(line: pd.Series) -> str:
    interval = f" ({100 * line['low']:+.1f} … {100 * line['high']:+.1f})" if line["n"] > 1 else ""
    return f"{100 * line['difference']:+.1f}{interval}"


def _score(values: pd.Series) -> str:
    if values.empty:
        return "–"
    return f"{100 * values.mean():.1f}" + (f" ± {100 * values.std():.1f}" if len(values) > 1 else "")


def _measured(rows: pd.DataFrame, measure: Measure) -> str:
    mine = rows.loc[rows["evaluation_set"] == measure.evaluation_set, list(measure.columns)]
    values = mine.astype(float).mean(axis=1).dropna()
    if values.empty:
        return "–"
    if set(measure.columns) <= set(SCORE_NAMES):
        return _score(values)
    decimals = max(0, 2 - math.floor(math.log10(max(abs(values.mean()), 1e-9))))
    spread = f" ± {values.std():.{decimals}f}" if len(values) > 1 else ""
    return f"{values.mean():.{decimals}f}{spread}"
