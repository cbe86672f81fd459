"""pix2pixHD from label maps to images, judged by a segmenter of real images that looks at the generated ones.

Source: the label balancing document, step 1 of its method (the data generator); Wang et al., pix2pixHD, section 4: the
mIoU of a fixed segmenter on images made of the label maps of the validation split of Cityscapes, and on the real ones.

One arm: the generator is what is trained last; the rows are those of the fixed segmenter, ``generated_test`` on images
made of label maps and ``real_test`` on the real images of the same streets. The perceptual network is not the segmenter
that judges: else the generator would learn to please its judge. Split roles: ``generated_val`` is what a search looks
at; ``generated_test`` and ``real_test`` are reported; both trainings see other streets.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.toy_city import toy_city as toy_city_gaps
from orchestrator.graph import Arm, Evaluation, Experiment, Stage, evaluation_stages
from trainers.components.configs import AugmentationConfig, LossConfig, NetworkConfig, OptimizerConfig
from trainers.config import Config
from trainers.loop_config import LoopConfig
from trainers.registry import method
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "pix2pixHD, label map → image: mIoU of a fixed segmenter on generated and on real test images"


def experiment(
    preset: str,
    *,
    segmenter: Config,
    generator: Mapping[str, Any],
    splits: Mapping[str, str],
    inference: Mapping[str, int],
    before: Mapping[str, Stage],
    data: Mapping[str, str],
    features: str | None = None,
) -> Experiment:
    """The graph.

    Args:
        preset: its name.
        segmenter: configuration of the judge.
        generator: fields of the generator's configuration.
        splits: ``val`` and ``test``, whose label maps are made into images.
        inference: size at which that happens; none: their own.
        before: stages that ``data`` and ``features`` name.
        data: data set → the stage that makes it.
        features: stage of the segmenter in the perceptual loss; ``None``: published weights.
    """
    perceptual = {} if features is None else {"segmenter": features}
    stages = dict(before)
    # The same judge for every seed: what varies is the generator.
    stages["segmenter"] = Stage("segmenter", "supervised", segmenter, data, seed_from="sweep")
    config = method("pix2pixhd").config.model_validate(generator)
    stages["pix2pixhd"] = Stage("pix2pixhd", "pix2pixhd", config, {**data, **perceptual}, seed_from="trial")
    config = method("translate").config.model_validate({**splits, **inference})
    stages["generated"] = Stage("generated", "translate", config, {**data, "translator": "pix2pixhd"})
    stages |= evaluation_stages("segmenter", {"real_test": splits["test"]}, data=data)
    made = {f"generated_{part}": f"translated/{part}" for part in splits}
    stages |= evaluation_stages("segmenter", made, data={**data, "translated": "generated"})
    arm = Arm(
        "pix2pixhd",
        train="pix2pixhd",
        evaluations=(
            Evaluation("generated_val", "select"),
            Evaluation("generated_test", "report"),
            Evaluation("real_test", "report"),
        ),
        source="generated_val",
        target_unlabeled="generated_val",
        target="generated_test",
    )
    return Experiment(
        name="label_to_image",
        summary=SUMMARY,
        preset=preset,
        stages=stages,
        arms={arm.name: arm},
        searches={"pix2pixhd": {"pix2pixhd": "pix2pixhd"}},
        objective="source_miou",
    )


def toy_city() -> Experiment:
    """64×128: a small generator, and features of a segmenter of game images; no weights are downloaded."""
    gaps = toy_city_gaps()
    return experiment(
        "toy_city",
        segmenter=gaps.stages["train_day"].config,
        generator={
            "train": "toy_city/day_train",
            "height": 64,
            "width": 128,
            "batch_size": 4,
            # Nothing passes the innermost cells by: 32 × 64, as in the release; 16 × 32 were a blur after 300 steps.
            "generator": {"width": 16, "downsamplings": 1, "blocks": 6},
            "discriminator": {"width": 16, "layers": 3, "scales": 2},
            # The image itself (stage 0) and shallow stages. Deeper ones have most of the release's weight; those of a
            # segmenter of 800 steps, which is no VGG19, are pleased by speckles.
            "features": ["segmenter@0", "segmenter@1", "segmenter@2"],
            "feature_weights": [1.0, 1 / 2, 1 / 4],
            # 2000 steps here, 595 000 there.
            "optimizer": {"learning_rate": 5e-4, "weight_decay": 0.0, "schedule": "linear_decay"},
            "loop": {"steps": 2000, "score_every_steps": 250, "log_every_steps": 20, "checkpoint_every_steps": 100},
        },
        splits={"val": "toy_city/day_val", "test": "toy_city/day_test"},
        inference={},
        before={
            "city": gaps.stages["city"],
            "features_segmenter": replace(gaps.stages["train_game"], name="features_segmenter", seed_from="sweep"),
        },
        data={"toy_city": "city"},
        features="features_segmenter",
    )


def real() -> Experiment:
    """Cityscapes at 512×1024, the release's settings: 200 epochs, batch 1, VGG19.

    200 images of train are left out of both trainings, to select by: the release trains on all 2975. The judge is the
    published check's network; its recipe of 90 epochs is ours.
    """
    graph = experiment(
        "real",
        segmenter=SupervisedConfig(
            train=("cityscapes/train:2775",),
            select="cityscapes/train:-200",
            height=512,
            width=1024,
            batch_size=8,
            network=NetworkConfig(architecture="pspnet", encoder="resnet101", weights="imagenet"),
            loss=LossConfig(),
            optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, weight_decay=1e-4),
            augmentation=AugmentationConfig(horizontal_flip=0.5, scale_min=0.5, scale_max=2.0),
            loop=LoopConfig(steps=31_200, score_every_steps=3_120, log_every_steps=100, checkpoint_every_steps=1_000),
        ),
        generator={
            "train": "cityscapes/train:2775",
            "height": 512,
            "width": 1024,
            "loop": {
                "steps": 200 * 2775,
                "score_every_steps": 27_750,
                "log_every_steps": 100,
                "checkpoint_every_steps": 5_000,
            },
        },
        splits={"val": "cityscapes/train:-200", "test": "cityscapes/val"},
        inference={"inference_height": 512, "inference_width": 1024},
        before={},
        data={},
    )
    return scored_at_label_size(graph)


PRESETS = {"toy_city": toy_city, "real": real}
