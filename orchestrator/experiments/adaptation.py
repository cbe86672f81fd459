"""The arms of an adaptation study: every one goes on from one stage that was trained on the labeled source.

Equal for all arms of a preset: labeled images, steps, network, optimizer and schedule, but for the warm-up that is
part of the leading recipe. Hyper-parameters are those of the methods' sources, scaled to short trainings as their
comments say; none was chosen on a split that is reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.graph import Arm, Evaluation, Stage, evaluation_stages
from trainers.loop_config import LoopConfig
from trainers.registry import method
from trainers.segmentation.supervised_config import Config as SupervisedConfig

DOCUMENT = {"teacher": {"kind": "student"}, "weight": "none"}
"""DACS as the GTA5 → Cityscapes document has it: the student labels for itself, and every pixel counts."""

RECIPE = {
    "teacher": {"rate": 0.001},
    "rare_classes": {"temperature": 0.01},
    "feature_distance": {"weight": 0.005},
    "masked": {"weight": 1.0, "ratio": 0.7, "patch": 64},
}
"""The recipe that leads today, on top of DACS: DAFormer's and MIC's parts with their published settings."""

SMALL_TEACHER = {"rate": 0.02}
"""For a few hundred steps: a time constant of 50; the published 100 and 1000 would leave the teacher at the start."""

SMALL_MIX = {"blur_sigma_max": 0.5}
"""At 64 pixels the published blur of up to 1.15 pixels would leave no pole and no sign to learn from."""

SMALL_RECIPE = {
    **RECIPE,
    "mix": SMALL_MIX,
    "teacher": SMALL_TEACHER,
    # A cell of the fourth feature map has 8 × 8 of 64 × 128 pixels, as the deepest's have 32 × 32 of 512 × 512.
    "feature_distance": {"weight": 0.005, "stage": 3},
    "masked": {"weight": 1.0, "ratio": 0.7, "patch": 8},
}
"""The same for images of 64 pixels and short trainings."""


@dataclass
class Study:
    """A graph that grows by arms."""

    source: SupervisedConfig
    """The stage that all adaptations start from; its ``select`` is of the source."""
    target: str
    """Unlabeled split of the target."""
    target_select: str
    """Split of the target on which infomax chooses checkpoints; of its labels a curve is drawn, and no more."""
    adaptation: LoopConfig
    """Of every stage that goes on from the source stage."""
    select: Mapping[str, str]
    """Evaluation set with the role ``select`` → split: the source's."""
    report: Mapping[str, str]
    """Evaluation set that is reported → split; the target's first."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Data set → the stage that makes it."""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Evaluation set → height and width of its images, where they are not the training's."""
    stages: dict[str, Stage] = field(default_factory=dict)
    arms: dict[str, Arm] = field(default_factory=dict)

    def add_source(self, name: str, *, inputs: Mapping[str, str] | None = None, **changes: Any) -> None:
        """A stage that trains from the start on labeled images; ``inputs`` beside the study's data."""
        config = SupervisedConfig.model_validate({**self.source.model_dump(), **changes})
        self.stages[name] = Stage(name, "supervised", config, {**self.data, **(inputs or {})})

    def add_supervised(self, name: str, *, initial: str) -> None:
        """An arm that goes on as it began, for as many steps as an adaptation takes."""
        config = self.stages[initial].config.model_copy(update={"loop": self.adaptation})
        self.stages[f"train_{name}"] = Stage(f"train_{name}", "supervised", config, {**self.data, "initial": initial})
        self.add_arm(name, f"train_{name}")

    def add_stage(
        self, name: str, kind: str, *, initial: str, inputs: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        """A stage of an adaptation method; ``fields`` are its own."""
        common = {
            **self.stages[initial].config.model_dump(),
            "loop": self.adaptation,
            "target": self.target,
            "select": self.target_select,
            **{f"select_{name}": pixels for name, pixels in self.size_of("unlabeled").items()},
        }
        config = method(kind).config.model_validate({**common, **fields})
        self.stages[name] = Stage(name, kind, config, {**self.data, "initial": initial, **(inputs or {})})

    def add_adaptation(self, name: str, kind: str, *, initial: str, **fields: Any) -> None:
        """An arm of one adaptation stage."""
        self.add_stage(f"train_{name}", kind, initial=initial, **fields)
        self.add_arm(name, f"train_{name}")

    def add_adabn(self, name: str, *, of: str) -> None:
        """The arm ``of`` with the target's batch statistics."""
        config = method("adabn").config.model_validate({"target": self.target})
        inputs = {**self.data, "segmenter": self.arms[of].train}
        self.stages[f"adapt_{name}"] = Stage(f"adapt_{name}", "adabn", config, inputs)
        self.add_arm(name, f"adapt_{name}")

    def add_multiband(
        self, name: str, *, initial: str, betas: tuple[float, ...], rounds: int = 1, **fields: Any
    ) -> None:
        """FDA's multi-band transfer: a net for each beta, pseudo-labels of all, each net again from the first weights.

        The last nets are scored together, by their averaged prediction.
        """
        trained = self._bands(f"{name}_0", initial, betas, {}, fields)
        for number in range(1, rounds + 1):
            labels = f"{name}_labels_{number}"
            source = self.source
            config = method("pseudo_labels").config.model_validate(
                {"target": self.target, "height": source.height, "width": source.width}
            )
            self.stages[labels] = Stage(labels, "pseudo_labels", config, {**self.data, **ensemble(trained)})
            trained = self._bands(f"{name}_{number}", initial, betas, {"pseudo_labels": labels}, fields)
        self.add_arm(name, trained[-1], members=trained)

    def _bands(
        self, name: str, initial: str, betas: tuple[float, ...], inputs: Mapping[str, str], fields: Mapping[str, Any]
    ) -> list[str]:
        names = [f"{name}_{letter}" for letter, _ in zip("abcdefgh", betas, strict=False)]
        for stage, beta in zip(names, betas, strict=True):
            self.add_stage(stage, "fda", initial=initial, inputs=inputs, beta=beta, **fields)
        return names

    def size_of(self, evaluation_set: str) -> dict[str, int]:
        """The fields of an evaluation that give its images their size."""
        return dict(zip(("height", "width"), self.sizes.get(evaluation_set, ()), strict=False))

    def add_weighted_rows(self, name: str, evaluation_sets: Sequence[str], strengths: Sequence[float]) -> None:
        """Score an arm on reported splits again, with class weights of other strengths on its logits."""
        arm, rows = self.arms[name], []
        for one in evaluation_sets:
            for strength in strengths:
                row = f"{one}_s{strength:g}"
                fields: dict[str, Any] = {**self.size_of(one), "class_weight_strength": strength, "pictures": 0}
                base = f"{name}:{row}"
                self.stages |= evaluation_stages(arm.train, {base: self.report[one]}, data=self.data, **fields)
                rows.append(Evaluation(row, "report", base))
        self.arms[name] = replace(arm, evaluations=(*arm.evaluations, *rows))

    def add_arm(self, name: str, train: str, *, members: list[str] | None = None) -> None:
        """Score ``train``, or the average of ``members``, on every split."""
        splits = {**self.select, "unlabeled": self.target_select, **self.report}
        inputs = {**self.data, **(ensemble(members) if members else {})}
        for one, split in splits.items():
            self.stages |= evaluation_stages(train, {f"{name}:{one}": split}, data=inputs, **self.size_of(one))
        roles = {**dict.fromkeys(self.select, "select"), **dict.fromkeys(self.report, "report")}
        self.arms[name] = Arm(
            name,
            train=train,
            evaluations=tuple(Evaluation(one, role, f"{name}:{one}") for one, role in roles.items()),  # type: ignore[arg-type]
            source=f"{name}:{next(iter(self.select))}",
            target_unlabeled=f"{name}:unlabeled",
            target=f"{name}:{next(iter(self.report))}",
        )


def ensemble(names: list[str]) -> dict[str, str]:
    """Input roles of an ensemble: ``segmenter``, ``segmenter_2``, …"""
    return {f"segmenter_{number}" if number > 1 else "segmenter": name for number, name in enumerate(names, start=1)}
