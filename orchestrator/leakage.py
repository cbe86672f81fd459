"""No arm learns from what it is reported on: not even without labels, and not through data that a stage made of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.graph import CHECKPOINTS, Arm, Experiment, Stage
from trainers.data.datasets import DataSplit
from trainers.data.overlap import check_apart

LEARNED_FROM = ("train", "source", "more_sources", "target", "pool")
"""Fields that name what a stage learns from, or chooses what to learn from; of the methods below ``split`` too."""
LEARNED_FROM_SPLIT = ("features", "recombine", "agreement")

MADE_OF = {"selected": "pool", "light_pool": "pool", "recombined": "split", "agreed": "split"}
"""Data set that a stage makes of another's images → its field that names them; a translation has one for each part."""


def check_targets(experiment: Experiment, arms: Iterable[Arm], roots: Mapping[str, Path]) -> None:
    """Refuse an arm that learns from images which it is reported on, with labels or without, or chooses by them.

    A split that selects checkpoints is not looked at: an arm does so on purpose.

    Raises:
        UserError: with an image that both splits have.
    """
    pairs: dict[tuple[str, str], tuple[str, DataSplit, DataSplit]] = {}
    for arm in arms:
        learned = [
            found
            for name in experiment.upstream([arm.train])
            for found in learned_splits(experiment, experiment.stages[name])
        ]
        for evaluation in arm.evaluations:
            if evaluation.role != "select":
                report = reported_split(experiment, experiment.stages[evaluation.stage(CHECKPOINTS[0])])
                for what, split in learned:
                    key = str(split), str(report)
                    if key not in pairs or "." not in what:  # A stage that reads the images themselves says more.
                        pairs[key] = (what, split, report)  # Of several names the nearest to the end.
    for _, (what, split, report) in sorted(pairs.items(), key=lambda item: item[0]):
        check_apart(roots, split, report, what=what)


def learned_splits(experiment: Experiment, stage: Stage) -> list[tuple[str, DataSplit]]:
    """(Field, split) of everything that a stage learns from, followed to where it comes from.

    A translation as such learns nothing: of its parts those count that a learning stage names.
    """
    if stage.method == "translate":
        return []
    fields = (*LEARNED_FROM, *(("split",) if stage.method in LEARNED_FROM_SPLIT else ()))
    given = ((name, getattr(stage.config, name, None)) for name in fields)
    each = ((name, one) for name, value in given for one in (value if isinstance(value, tuple) else (value,)))
    return [origin(experiment, stage, name, one) for name, one in each if isinstance(one, DataSplit)]


def reported_split(experiment: Experiment, stage: Stage) -> DataSplit:
    """What an evaluation scores; of images that a stage made those that they were made of."""
    split = DataSplit.model_validate(stage.config.model_dump()["split"])
    return origin(experiment, stage, "split", split)[1]


def origin(experiment: Experiment, stage: Stage, name: str, split: DataSplit) -> tuple[str, DataSplit]:
    """The split that ``split``, the field ``name`` of ``stage``, was made of, and which field says so.

    That is ``name``, or ``stage.field`` of the first stage of those that made it.
    """
    while split.dataset in ("translated", *MADE_OF) and split.dataset in stage.inputs:
        stage = experiment.stages[stage.inputs[split.dataset]]
        field = MADE_OF.get(split.dataset, split.split)
        made_of = getattr(stage.config, field)
        if made_of is None:  # A part that the stage does not make: whoever opens it says so.
            break
        name, split = f"{stage.name}.{field}", made_of
    return name, split
