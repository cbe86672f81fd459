"""What an evaluation scores, by content: rows of other images or labels are never ranked with each other.

Read off the plan, so that a row of an artifact that exists already says it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from orchestrator.graph import Arm, Objective, Planned, digest
from orchestrator.trial import Trial
from trainers.data.datasets import DataSplit
from trainers.errors import UserError
from trainers.segmentation.evaluate_config import Config as EvaluationConfig

if TYPE_CHECKING:
    from orchestrator.search import Sweep


@dataclass(frozen=True)
class Scored:
    """Images and labels."""

    split: str
    """As it is written, ``DATASET/SPLIT[:PART]``; of translated images the split that they were made of."""
    fingerprint: str
    """Of the files, where they come from outside; of what a stage has made, the stage's key."""


def scored_by(planned: Mapping[str, Planned], evaluation: str) -> Scored:
    """What the stage ``evaluation`` scores.

    A translation keeps scenes and labels, and every seed's translator makes another one: what is scored is how well the
    translated images are understood, so they count as the split that they were made of.
    """
    stage = planned[evaluation]
    return _traced(planned, stage, cast("EvaluationConfig", stage.config).split)


def _traced(planned: Mapping[str, Planned], reader: Planned, split: DataSplit) -> Scored:
    """The origin of a split that ``reader`` reads."""
    if split.dataset not in reader.stage.inputs:
        return Scored(str(split), str(reader.content["data"][str(split)]))
    maker = planned[reader.stage.inputs[split.dataset]]
    origin = maker.config.shown_in(split.split)
    if origin is None:
        return Scored(str(split), maker.key)
    source, part = _traced(planned, maker, cast("DataSplit", origin)), split.part.removeprefix(split.split)
    return Scored(source.split + part, source.fingerprint)


def objective_fingerprint(planned: Mapping[str, Planned], arm: Arm, objective: Objective) -> str:
    """Names what an objective of a search is scored on and, where that is the input's, at which size."""
    bases = {"source_miou": arm.source, "target_infomax": arm.target_unlabeled, "target_miou": arm.target}
    stage = planned[f"{bases[objective]}@best"]
    config = cast("EvaluationConfig", stage.config)
    at_label_size = objective != "target_infomax" and config.at_label_size()  # Infomax reads no label.
    scored = scored_by(planned, stage.name)
    return digest([scored.split, scored.fingerprint, None if at_label_size else _input_size(planned, stage)])


def _input_size(planned: Mapping[str, Planned], evaluation: Planned) -> list[int | None]:
    """Height and width of the network's input: the evaluation's own, or those at which its training was scored."""
    config, reader = cast("EvaluationConfig", evaluation.config), evaluation
    while not hasattr(reader.config, "select_size"):
        if "segmenter" not in reader.stage.inputs:
            return [config.height, config.width]
        reader = planned[reader.stage.inputs["segmenter"]]
    trained: Any = reader.config
    height, width = trained.select_size()
    return [config.height or height, config.width or width]


def objective_of(sweep: "Sweep", varied: Mapping[str, Any] | None = None) -> str:
    """Names what the objective of a sweep is scored on; values that differ in it are never told to one sampler."""
    trial = Trial.of(sweep.experiment, sweep.arm, varied or {}, sweep.seeds, sweep.place)
    return objective_fingerprint(trial.planned, sweep.arm, sweep.experiment.objective)


def check_objective(sweep: "Sweep") -> None:
    """Refuse a space that varies what its objective is scored on: such values say nothing about each other.

    Raises:
        UserError: with the field.
    """
    fixed = objective_of(sweep)
    for name, distribution in sweep.space.items():
        for value in getattr(distribution, "choices", None) or (distribution.low, distribution.high):
            try:
                fingerprint = objective_of(sweep, {name: value})
            except (UserError, KeyError):  # Not a configuration on its own, or one of data that were not looked at.
                continue
            if fingerprint != fixed:
                raise UserError(
                    f"{name}={value} changes the images that {sweep.experiment.objective} is scored on, or their size: "
                    "its values could not be compared; vary another field, or score labels at their own size "
                    "(score_size=label of the evaluations)"
                )
