"""Label balancing: a supplement in which rare classes are less rare, and what else would do as much.

Arms, all trained for as many steps: ``baseline``, the labeled images alone; the document's ``add_single``,
``add_multi`` and ``recon``, with images that pix2pixHD makes of recombined label maps; ``recon_filtered``, without
those that the baseline's segmenter reads least as their maps say; the document's rivals ``traditional`` (flip, scale
and colors) and ``style`` (FDA: images take the low frequencies of other images of the split, as its "style transfer",
which it does not specify); and rivals that generate nothing: ``rare_classes`` (DAFormer's sampling) and
``copy_paste``, ``copy_paste_recon``, where the maps of ``add_multi`` and ``recon`` keep the pixels of their donors.

The generator is that of ``label_to_image``, and one for all seeds, as its images are.

Split roles, ``toy_city``: ``day_val`` selects checkpoints, ``day_test`` is reported, ``day_held_out`` is for nobody.
``real``: 200 images of train, which no training sees, select; val is reported. The last checkpoint is reported too.

Toy City has no field for class frequencies; its own are uneven enough (road 27.6 %, traffic light 0.43 %, by day).

Source: the label balancing document, Tables 1 and 2 (PSPNet: baseline 77.31, add single 78.65, add multi 78.82,
    reconstruct 79.41, tradition 77.31, style transfer 78.82); hszhao/semseg, whose PSPNet-50 has 77.30 on one scale and
    whose recipe ``real`` follows: 200 epochs of SGD, batch 16, crops of 713.
Differs: the document's "tradition" is its baseline, so both have flips and scales here, ``traditional`` adds colors;
    it selects no checkpoint, says nothing of the amount of the supplement (one new map an image here), and its
    baseline trains on all 2975 images. Whole images are scored, not crops, and the ResNet-50 has a plain stem. Scales
    begin where a crop still fits, at .7 instead of the recipe's .5: ``style`` would take padding for content.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.experiments import label_to_image
from orchestrator.experiments.adaptation import Study
from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.toy_city import toy_city as toy_city_gaps
from orchestrator.graph import Experiment, Stage
from trainers.components.configs import AugmentationConfig, NetworkConfig, OptimizerConfig, PhotometricConfig
from trainers.loop_config import LoopConfig
from trainers.registry import method
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "Balanced labels: images of recombined label maps, beside augmentation, rare-class sampling and copy-paste"

SUPPLEMENTS: dict[str, dict[str, Any]] = {
    "add_single": {"classes": ["wall"]},
    "add_multi": {"classes": ["wall", "fence", "pole", "traffic_light", "train"]},
    "recon": {"kind": "reconstruct"},
}
"""The document's three ways to recombine, whose arms have the same names."""

PASTED = {"copy_paste": "add_multi", "copy_paste_recon": "recon"}
"""Arm → whose maps it trains on, with the pixels of their donors."""


DROPPED = 0.25
"""Share of the generated images that ``recon_filtered`` leaves out, those that the baseline agrees with least: ours."""


def experiment(
    preset: str,
    study: Study,
    *,
    generators: Experiment,
    inference: Mapping[str, int],
    colors: PhotometricConfig,
    rare_classes: Mapping[str, float],
    fda_beta: float,
) -> Experiment:
    """The graph.

    Args:
        preset: its name.
        study: with the stages that ``study.data`` names.
        generators: ``label_to_image``, whose generator, and what that is made of, is ours.
        inference: size at which images are generated; none: that of the label maps.
        colors: of the arm ``traditional``.
        rare_classes: of the arm ``rare_classes``.
        fda_beta: of the arm ``style``.
    """
    source = study.source
    (split,) = source.train
    study.add_source("train_baseline")
    study.add_source("train_traditional", augmentation=source.augmentation.model_copy(update={"photometric": colors}))
    style = {**source.model_dump(), "target": str(split), "beta": fda_beta, "entropy_weight": 0.0, "select_by": "miou"}
    config = method("fda").config.model_validate(style)
    study.stages["train_style"] = Stage("train_style", "fda", config, dict(study.data))
    study.add_source("train_rare_classes", rare_classes=rare_classes)
    for name in generators.upstream(["pix2pixhd"]):
        study.stages[name] = replace(generators.stages[name], name=name, seed_from="sweep")
    for supplement in SUPPLEMENTS:
        add_maps(study, supplement)
        made = add_images(study, supplement, inference)
        study.add_source(f"train_{supplement}", inputs=made, train=(split, "translated/train"))
    made = add_filter(study, "recon", made)
    study.add_source("train_recon_filtered", inputs=made, train=(split, "agreed/train"))
    for arm, supplement in PASTED.items():
        made = {"recombined": f"maps_{supplement}"}
        study.add_source(f"train_{arm}", inputs=made, train=(split, "recombined/pasted"))
    for arm in ("baseline", *SUPPLEMENTS, "recon_filtered", "traditional", "style", "rare_classes", *PASTED):
        study.add_arm(arm, f"train_{arm}")
    return Experiment(
        name="label_balancing",
        summary=SUMMARY,
        preset=preset,
        stages=study.stages,
        arms=study.arms,
        searches={"supplement": {"maps_recon": "supplement"}},
        objective="source_miou",
        baseline="baseline",
    )


def add_maps(study: Study, supplement: str) -> None:
    """The recombined label maps of a supplement, with pixels where an arm trains on them."""
    images = supplement in PASTED.values()
    fields = {"split": str(study.source.train[0]), "images": images, **SUPPLEMENTS[supplement]}
    config = method("recombine").config.model_validate(fields)
    name = f"maps_{supplement}"
    study.stages[name] = Stage(name, "recombine", config, dict(study.data))


def add_images(study: Study, supplement: str, inference: Mapping[str, int]) -> dict[str, str]:
    """What the generator makes of the maps; returns the inputs of a training on it."""
    config = method("translate").config.model_validate({"train": "recombined/maps", **inference})
    name, made = f"images_{supplement}", {"recombined": f"maps_{supplement}"}
    study.stages[name] = Stage(name, "translate", config, {**made, "translator": "pix2pixhd"})
    return {**made, "translated": name}


def add_filter(study: Study, supplement: str, made: Mapping[str, str]) -> dict[str, str]:
    """The images of a supplement that the baseline agrees with; returns the inputs of a training on them."""
    size = {"height": study.source.height, "width": study.source.width}
    fields = {"split": "translated/train", "quantile": DROPPED, **size}
    config = method("agreement").config.model_validate(fields)
    name = f"agreeing_{supplement}"
    study.stages[name] = Stage(name, "agreement", config, {**made, "segmenter": "train_baseline"})
    return {**made, "agreed": name}


def toy_city() -> Experiment:
    """64×128 read at twice that, crops of 64×128, 2000 steps of PSPNet-ResNet18 from random weights.

    ``PSPNet`` is that of segmentation_models_pytorch, whose encoder ends at stride 8, after its second stage: a step
    takes a seventh of ``pspnet``'s time. Without the enlargement a cell of stride 8 would swallow every pole.
    """
    loop = LoopConfig(steps=2000, score_every_steps=400, log_every_steps=50, checkpoint_every_steps=200)
    study = Study(
        source=SupervisedConfig(
            train=("toy_city/day_train",),
            select="toy_city/day_val",
            height=128,
            width=256,
            batch_size=4,
            network=NetworkConfig(architecture="PSPNet", encoder="resnet18"),
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            augmentation=AugmentationConfig(
                horizontal_flip=0.5, scale_min=0.8, scale_max=1.25, crop_height=64, crop_width=128
            ),
            loop=loop,
        ),
        target="toy_city/day_train",
        target_select="toy_city/day_val",
        adaptation=loop,
        select={"day_val": "toy_city/day_val"},
        report={"day_test": "toy_city/day_test"},
        data={"toy_city": "city"},
    )
    study.stages["city"] = toy_city_gaps().stages["city"]
    # The published blur would leave nothing of a pole of one pixel.
    colors = PhotometricConfig(probability=0.5, blur_sigma_max=0.5)
    return experiment(
        "toy_city",
        study,
        generators=label_to_image.toy_city(),
        inference={},
        colors=colors,
        rare_classes={"temperature": 0.01},
        fda_beta=0.05,
    )


def real() -> Experiment:
    """Cityscapes at full size, PSPNet-50; weights by name download."""
    train, loop = 2775, {"log_every_steps": 100, "checkpoint_every_steps": 1_000}
    steps = 200 * train // 16
    schedule = LoopConfig(steps=steps, score_every_steps=steps // 10, **loop)
    study = Study(
        source=SupervisedConfig(
            train=(f"cityscapes/train:{train}",),
            select="cityscapes/train:-200",
            height=1024,
            width=2048,
            batch_size=16,
            network=NetworkConfig(architecture="pspnet", encoder="resnet50", weights="imagenet"),
            optimizer=OptimizerConfig(
                name="sgd", learning_rate=0.01, head_learning_rate_factor=10.0, weight_decay=1e-4
            ),
            augmentation=AugmentationConfig(
                horizontal_flip=0.5, scale_min=0.7, scale_max=2.0, crop_height=713, crop_width=713
            ),
            loop=schedule,
        ),
        target=f"cityscapes/train:{train}",
        target_select="cityscapes/train:-200",
        adaptation=schedule,
        select={"cityscapes_select": "cityscapes/train:-200"},
        report={"cityscapes_val": "cityscapes/val"},
    )
    colors = PhotometricConfig(probability=0.5)
    graph = experiment(
        "real",
        study,
        generators=label_to_image.real(),
        # The generator's own size; images come back in the size of their maps.
        inference={"inference_height": 512, "inference_width": 1024},
        colors=colors,
        rare_classes={"temperature": 0.01},
        fda_beta=0.01,
    )
    return scored_at_label_size(graph)


PRESETS = {"toy_city": toy_city, "real": real}
