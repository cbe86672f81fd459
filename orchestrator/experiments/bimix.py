"""Night with pairs of day and night images of one place: DANNet, Bi-Mix, and what each part of Bi-Mix is worth.

All arms but the ceiling go on from one stage per seed that was trained on labeled day images. Bi-Mix runs as its code
is released and ``clean``: as the method says, with the mixes at weights that can be felt. Every ablation is of the
clean form. ``adabn`` (``toy_city``) gives the arm without adaptation the batch statistics of the night.

Split roles, ``toy_city``: ``day_val`` selects checkpoints of the arms without adaptation, by mIoU; ``night_val``,
labels unread, those of all others, by infomax; ``night_test`` and ``day_test`` (forgetting) are reported, and so is
``night_pairs_a``: the streets that were adapted to, with the labels that no training saw. ``bimix_other_streets``
adapts to other streets (``pairs_b``): its distance to ``bimix`` on ``night_pairs_a`` is what having seen the streets is
worth; the document suspects that pairs help the translation alone, and that this is why little carries over. ``real``:
200 night images of the pairs, which no training sees, select by infomax; Dark Zurich val and Nighttime Driving are
reported, both of other streets than the pairs. Checkpoints are chosen, and ``nightshift predict … --format
dark_zurich`` (for the server of Dark Zurich test) predicts, at the size that is reported.

The rule for checkpoints is infomax or the last one, fixed in advance. ``bimix_best_on_report`` breaks it on purpose: it
takes, as the release does, the best of many by the mIoU of the split that is reported; there that split's role is
``select``, and its distance to ``bimix_as_released`` is what that adds. Rows ``…_s0.05`` and ``…_s0.16`` multiply the
logits of a test by class weights; those without are s = 0. The release's .16 was tuned on what it reports.

Source: the Bi-Mix document (arms and ablations); ygjwd12345/BiMix and W-zx-Y/DANNet (settings).
Differs: ``real`` takes PSPNet-ResNet101, trained here, and 100 000 steps for every arm, where DANNet takes 50 000;
    night is read at 540×960, and predictions are resized to the labels' 1080×1920 before they are compared. In the
    release consistency is all that one direction is, so without it that direction is off; ``no_consistency`` therefore
    keeps the light losses on its mix.
"""

from dataclasses import replace
from typing import Any

from orchestrator.experiments.adaptation import SMALL_MIX, SMALL_TEACHER, Study
from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.toy_city import IMAGES
from orchestrator.graph import Evaluation, Experiment, Stage
from trainers.components.configs import AugmentationConfig, NetworkConfig, OptimizerConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "Day → night with pairs: DANNet, Bi-Mix as released and clean, its ablations; FDA and DACS on the same images"

STRENGTHS = (0.05, 0.16)
"""s of a test's class weights; 0 is every other row."""

AS_RELEASED: dict[str, Any] = {
    "as_released": True,
    "source_to_night": {"weight": 0.001},
    "day_to_night": {"consistency_weight": 0.001, "light_weight": 0.0},
}
"""The released weights; the relighting is ``curves``."""

CLEAN: dict[str, Any] = {
    # DACS gives the same loss on the same kind of mix this weight.
    "source_to_night": {"weight": 1.0},
    # What the light losses weigh on every other image of the target; the consistency is one of them.
    "day_to_night": {"consistency_weight": 0.01, "light_weight": 0.01},
}
"""Fixed beforehand; the search ``bimix`` varies the weights."""

OFF = {"consistency_weight": 0.0, "light_weight": 0.0}
ABLATIONS: dict[str, dict[str, Any]] = {
    "only_source_to_night": {"day_to_night": OFF},
    "only_day_to_night": {"source_to_night": {"weight": 0.0}},
    "no_consistency": {"day_to_night": {"consistency_weight": 0.0, "light_weight": 0.01}},
    "only_source_to_night_no_relighting": {"day_to_night": OFF, "relighting": {"kind": "none"}},
}
"""Arm → what differs from the clean form: one direction only (either), no consistency, no relighting."""


def add_arms(
    study: Study, *, candidates: int, curves: int | None = None, resnet: int | None = None, **common: Any
) -> None:
    """The arms with pairs; ``common`` are settings of all of them, ``curves`` and ``resnet`` widths of the relighting.

    ``candidates`` is of how many checkpoints the oracle takes the best.
    """
    paper = {**common, "relighting": {"kind": "resnet", "width": resnet}}
    release = {**common, "relighting": {"kind": "curves", "width": curves}, **AS_RELEASED}
    study.add_adaptation("dannet", "dannet", initial="source", **paper)
    study.add_adaptation("bimix_as_released", "bimix", initial="source", **release)
    study.add_adaptation("bimix", "bimix", initial="source", **paper, **CLEAN)
    for name, changes in ABLATIONS.items():
        study.add_adaptation(name, "bimix", initial="source", **{**paper, **CLEAN, **changes})
    reported = next(iter(study.report))
    often = study.adaptation.model_copy(update={"score_every_steps": study.adaptation.steps // candidates})
    size = {f"select_{name}": pixels for name, pixels in study.size_of(reported).items()}
    fields = {**release, "select": study.report[reported], **size, "select_by": "miou", "loop": often}
    study.add_adaptation("bimix_best_on_report", "bimix", initial="source", **fields)
    arm = study.arms["bimix_best_on_report"]
    roles = {reported: "select"}
    rows = [Evaluation(one.name, roles.get(one.name, one.role), one.base) for one in arm.evaluations]  # type: ignore[arg-type]
    study.arms[arm.name] = replace(arm, evaluations=tuple(rows))


def toy_city() -> Experiment:
    """64×128, 800 + 200 steps, 320 pairs: with 400 steps the arms and their seeds take six hours of a core."""
    loop = {"log_every_steps": 20, "checkpoint_every_steps": 100}
    study = Study(
        source=SupervisedConfig(
            train=("toy_city/day_train",),
            select="toy_city/day_val",
            height=64,
            width=128,
            batch_size=4,
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            loop=LoopConfig(steps=800, score_every_steps=100, **loop),
        ),
        target="toy_city/pairs_a",
        target_select="toy_city/night_val",
        adaptation=LoopConfig(steps=200, score_every_steps=40, **loop),
        select={"day_val": "toy_city/day_val"},
        report={
            "night_test": "toy_city/night_test",
            "night_pairs_a": "toy_city/night_pairs_a",
            "day_test": "toy_city/day_test",
        },
        data={"toy_city": "city"},
    )
    images = dict.fromkeys(("day", "night"), IMAGES)
    study.stages["city"] = Stage("city", "toy_city", CityConfig(images=images, pairs=640))
    study.add_source("source")
    study.add_source("source_target", train=("toy_city/night_train",), select="toy_city/night_val")
    study.add_supervised("source_only", initial="source")
    study.add_adabn("adabn", of="source_only")
    study.add_adaptation("fda", "fda", initial="source", beta=0.05)
    study.add_adaptation("dacs", "dacs", initial="source", teacher=SMALL_TEACHER, mix=SMALL_MIX)
    small = {
        "class_weights": {"frequencies": "source"},
        # An eighth of the height, as 32 pixels are of 256; of 512 they are a sixteenth.
        "light": {"patch": 8},
        "adversarial": {"width": 16},
    }
    add_arms(study, candidates=20, curves=16, resnet=16, **small)
    clean = {**small, "relighting": {"kind": "resnet", "width": 16}, **CLEAN}
    study.add_adaptation("bimix_other_streets", "bimix", initial="source", target="toy_city/pairs_b", **clean)
    study.add_supervised("target_supervised", initial="source_target")
    for name in ("dannet", "bimix_as_released", "bimix"):
        study.add_weighted_rows(name, ["night_test"], STRENGTHS)
    return _experiment(study, "toy_city", fda="fda_beta_small")


def real() -> Experiment:
    """Cityscapes, pairs of Dark Zurich; the released crops, batch, optimizer; weights by name download."""
    crop = {"crop_height": 512, "crop_width": 512}
    loop = {"log_every_steps": 100, "checkpoint_every_steps": 1000}
    night = (540, 960)
    study = Study(
        source=SupervisedConfig(
            train=("cityscapes/train",),
            select="cityscapes/val",
            height=1024,
            width=2048,
            batch_size=2,
            network=NetworkConfig(architecture="pspnet", encoder="resnet101", weights="imagenet"),
            optimizer=OptimizerConfig(name="sgd", learning_rate=2.5e-4, weight_decay=5e-4),
            augmentation=AugmentationConfig(scale_min=0.5, scale_max=1.0, **crop),
            loop=LoopConfig(steps=150_000, score_every_steps=10_000, **loop),
        ),
        target="dark_zurich/pairs:2216",
        target_select="dark_zurich/pairs:-200",
        adaptation=LoopConfig(steps=100_000, score_every_steps=5_000, **loop),
        select={"cityscapes_val": "cityscapes/val"},
        report={"dark_zurich_val": "dark_zurich/val_night", "nighttime_driving": "nighttime_driving/test"},
        sizes={
            "cityscapes_val": (512, 1024),
            "unlabeled": night,
            "dark_zurich_val": night,
            "nighttime_driving": night,
        },
    )
    study.add_source("source")
    study.add_supervised("source_only", initial="source")
    # These two augment both domains alike, by half to once the native size.
    native = {"target_height": 1080, "target_width": 1920}
    study.add_adaptation("fda", "fda", initial="source", beta=0.01, **native)
    study.add_adaptation("dacs", "dacs", initial="source", **native)
    # The release crops 960 of 1080 pixels and shrinks them to 512: the whole image has 576×1024 then.
    size: dict[str, Any] = {"target_height": 576, "target_width": 1024}
    add_arms(study, candidates=100, **size, pair_augmentation=AugmentationConfig(scale_min=0.9, scale_max=1.1, **crop))
    for name in ("dannet", "bimix_as_released", "bimix"):
        study.add_weighted_rows(name, list(study.report), STRENGTHS)
    return scored_at_label_size(_experiment(study, "real", fda="fda_beta"))


def _experiment(study: Study, preset: str, *, fda: str) -> Experiment:
    return Experiment(
        name="bimix",
        summary=SUMMARY,
        preset=preset,
        stages=study.stages,
        arms=study.arms,
        searches={"bimix": {"train_bimix": "bimix"}, "fda_beta": {"train_fda": fda}, "dacs": {"train_dacs": "dacs"}},
        objective="target_infomax",
        baseline="source_only",
    )


PRESETS = {"toy_city": toy_city, "real": real}
