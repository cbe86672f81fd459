"""A tiny configuration of every method, for the tests of what all methods keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.translation.untrained import SMALL as SMALL_GENERATOR
from trainers.config import Config
from trainers.registry import method


@dataclass(frozen=True)
class Tiny:
    """A configuration that runs in a second, and the inputs that it needs, by role: ``SOURCES`` makes them."""

    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    record: Mapping[str, Any] = field(default_factory=dict)
    """Changes for the recorded losses, which must agree to 1e-4 between processors: batch statistics of a few pixels
    and Adam's division enlarge their differences a thousandfold in six steps unless the rate is small, and uint8
    rescaling rounds differently on each. No number is near a threshold, where rounding would decide."""
    two_workers: Mapping[str, Any] = field(default_factory=dict)
    """Changes with which two workers compute what one does, beside ``batch_norm: frozen``: no dropout, for each rank
    draws its own, and an optimizer that does not divide by tiny numbers."""


TINY = {
    "toy_city": Tiny({"height": 32, "width": 64, "images": {"day": {"train": 2}, "night": {"val": 1}}}, {}),
    "supervised": Tiny(
        {
            "train": ["toy_city/day_train"],
            "select": "toy_city/day_val",
            "height": 32,
            "width": 64,
            "batch_size": 4,
            "loss": {"alpha": 0.5, "gamma": 1.5, "normalise_focal": True},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "clip_gradient_norm": 5.0},
            "augmentation": {"scale_min": 0.8, "scale_max": 1.3},
            "loop": {"steps": 4, "score_every_steps": 2, "log_every_steps": 3, "checkpoint_every_steps": 2},
        },
        {"toy_city": "toy_city"},
        record={"optimizer": {"learning_rate": 3e-6}, "augmentation": {"scale_min": 1.0, "scale_max": 1.0}},
        two_workers={"network": {"dropout": 0.0}, "optimizer": {"name": "sgd", "learning_rate": 1e-4}},
    ),
    "pack": Tiny(
        {"splits": ["toy_city/day_val", "toy_city/day_train:3"], "height": 16, "width": 32}, {"toy_city": "toy_city"}
    ),
    "fog": Tiny({"split": "cityscapes/train"}, {"cityscapes": "cityscapes"}),
    "evaluation": Tiny(
        {"split": "toy_city/night_val", "checkpoint": "final", "instances": True},
        {"toy_city": "toy_city", "segmenter": "segmenter"},
    ),
}
ADAPTATION = {
    **TINY["supervised"].config,
    "target": "toy_city/night_val",
    "loss": {"alpha": 1.0},
    "augmentation": {"scale_max": 1.3},
    "pictures": 2,
}
FROM_SEGMENTER = {"toy_city": "toy_city", "initial": "segmenter"}
TINY["fda"] = Tiny(
    {**ADAPTATION, "beta": 0.05},
    FROM_SEGMENTER,
    record=TINY["supervised"].record,
    two_workers=TINY["supervised"].two_workers,
)
TINY["adabn"] = Tiny(
    {"target": "toy_city/day_train", "batch_size": 2}, {"toy_city": "toy_city", "segmenter": "segmenter"}
)
TINY["dacs"] = Tiny(
    {
        **ADAPTATION,
        "teacher": {"rate": 0.4},
        "threshold": 0.2,
        "weight": "image",
        "rare_classes": {"temperature": 0.1},
        "feature_distance": {"weight": 0.1, "stage": 2},
        "masked": {"weight": 0.5, "patch": 8},
    },
    FROM_SEGMENTER,
    record={**TINY["supervised"].record, "threshold": 0.0},
    two_workers=TINY["supervised"].two_workers,
)
TINY["pseudo_labels"] = Tiny(
    {"target": "toy_city/night_val", "height": 32, "width": 64},
    {"toy_city": "toy_city", "segmenter": "segmenter", "segmenter_again": "segmenter"},
)
PAIRS = {
    **ADAPTATION,
    "target": "dark_zurich/pairs",
    "select_by": "miou",
    "class_weights": {"frequencies": "source"},
    "light": {"patch": 8},
    "adversarial": {"width": 4, "weight": 0.1},
    "pair_augmentation": {"scale_min": 1.0, "scale_max": 1.2},
}
WITH_PAIRS = {**FROM_SEGMENTER, "dark_zurich": "dark_zurich"}
SMALL_STEPS = {
    **TINY["supervised"].record,
    "adversarial": {"learning_rate": 1e-6},
    "pair_augmentation": {"scale_min": 1.0, "scale_max": 1.0},
}
TINY["dannet"] = Tiny(
    {**PAIRS, "loss": {}, "relighting": {"width": 4}},
    WITH_PAIRS,
    record={**SMALL_STEPS, "static": {"logit_threshold": -100.0}},
    two_workers=TINY["supervised"].two_workers,
)
TINY["bimix"] = Tiny(
    {
        **PAIRS,
        "loss": {},
        "relighting": {"kind": "curves", "width": 4},
        "source_to_night": {"weight": 0.5, "threshold": 0.2},
        "day_to_night": {"consistency_weight": 0.1, "light_weight": 0.01},
    },
    WITH_PAIRS,
    record={**SMALL_STEPS, "source_to_night": {"threshold": 0.0}},
    two_workers=TINY["supervised"].two_workers,
)
TINY["unit"] = Tiny(
    {
        "source": "toy_city/day_train",
        "target": "toy_city/night_val",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {"width": 4, "blocks": 2},
        "discriminator": {"width": 4, "scales": 2},
        "weights": {"perceptual": 10.0},
        "features": "segmenter@2",
        "augmentation": {"crop_height": 32, "crop_width": 32},
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"toy_city": "toy_city", "segmenter": "segmenter"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-4}},
)
TINY["pix2pixhd"] = Tiny(
    {
        "train": "toy_city/day_train",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {**SMALL_GENERATOR, "enhancer": "local"},
        "discriminator": {"width": 4, "layers": 3, "scales": 2},
        "features": ["segmenter@1", "segmenter@2"],
        "feature_weights": [0.5, 1.0],
        "global_frozen_steps": 2,
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"toy_city": "toy_city", "segmenter": "segmenter", "global_generator": "global_generator"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-4}},
)
TINY["translate"] = Tiny(
    {"val": "toy_city/day_val", "unlabeled": "toy_city/day_train:4", "checkpoint_every_images": 2, "pictures": 1},
    {"toy_city": "toy_city", "translator": "translator"},
)
TINY["dfs"] = Tiny(
    {
        "source": "dehazing/hazy:5",
        "target": "dehazing/clear",
        "select": "dehazing/hazy:-2",
        "select_target": "dehazing/clear",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {"width": 4, "depth": 4},
        "discriminator": {"width": 4, "layers": 2},
        "features": "segmenter@2",
        "augmentation": {"horizontal_flip": 0.5},
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"dehazing": "dehazing", "segmenter": "segmenter"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-5}},
)
TINY["image_quality"] = Tiny({"split": "dehazing/hazy", "reference": "dehazing/clear"}, {"dehazing": "dehazing"})
TINY["features"] = Tiny(
    {"split": "toy_city/day_train", "features": "segmenter@2", "height": 32, "width": 64, "batch_size": 3},
    {"toy_city": "toy_city", "segmenter": "segmenter"},
)
TINY["frechet"] = Tiny({}, {"features": "features", "reference": "features"})
TINY["selection"] = Tiny(
    {
        "pool": "toy_city/day_train",
        "labeled": ["toy_city/day_val"],
        "quantile": 0.8,
        "unlabeled_ratio": 1.0,
        "order": "quantile_match",
        "pictures": 1,
    },
    {"toy_city": "toy_city", "features": "features", "reference": "features"},
)
TINY["self_training"] = Tiny(
    {
        **{name: value for name, value in TINY["supervised"].config.items() if name != "loss"},
        "target": "toy_city/night_val",
        "select_also": ["toy_city/night_val"],
        "composition": "batch",
        "unlabeled_per_batch": 2,
        "loss": {"alpha": 0.5, "focal_form": "batch_mean_legacy"},
    },
    {**FROM_SEGMENTER, "pseudo_labels": "pseudo_labels"},
    record=TINY["supervised"].record,
    two_workers=TINY["supervised"].two_workers,
)
TINY["light_split"] = Tiny({"pool": "toy_city/day_train", "threshold": 110.0}, {"toy_city": "toy_city"})
TINY["recombine"] = Tiny(
    {"split": "toy_city/day_train", "images": True, "checkpoint_every_images": 2, "pictures": 1},
    {"toy_city": "toy_city"},
)
TINY["agreement"] = Tiny(
    {"split": "toy_city/day_train", "height": 32, "width": 64, "threshold": 0.0},
    {"toy_city": "toy_city", "segmenter": "segmenter"},
)
SOURCES = {
    "toy_city", "segmenter", "cityscapes", "dark_zurich", "dehazing", "translator", "features", "pseudo_labels",
    "global_generator",
}  # fmt: skip


def tiny(name: str) -> Tiny:
    if name not in TINY:
        pytest.fail(f"the method {name!r} has no tiny configuration: add one to TINY in {Path(__file__).name}")
    return TINY[name]


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: merge(base.get(key, {}), value) if isinstance(value, dict) else value
              for key, value in changes.items()}  # fmt: skip
    return {**base, **nested}


def arguments(
    name: str, sources: Mapping[str, Path], seed: int, changes: Mapping[str, Any]
) -> tuple[Any, Config, dict[str, Path], int | None]:
    """The module of a method, its tiny configuration with ``changes``, its inputs and its seed."""
    kind = method(name)
    config = kind.config.model_validate(merge(tiny(name).config, changes)).resolved(device_type="cpu")
    inputs = {role: sources[source] for role, source in tiny(name).inputs.items()}
    return kind.load(), config, inputs, None if kind.seed_from is None else seed
