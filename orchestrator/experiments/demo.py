"""The main job on the embedded data set: train on Toy City by day, search the loss, look at the night."""

from orchestrator.graph import Arm, Evaluation, Experiment, Stage, evaluation_stages
from trainers.components.configs import LossConfig, OptimizerConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "Toy City, day → night: FPN-ResNet18 on day images; searches the share of cross-entropy in the loss"

SPLITS = {
    "day_val": "toy_city/day_val",
    "day_test": "toy_city/day_test",
    "night_val": "toy_city/night_val",
    "night_test": "toy_city/night_test",
}
HELD_OUT = {"day_held_out": "toy_city/day_held_out", "night_held_out": "toy_city/night_held_out"}
"""Rendered and scored by ``confirm`` alone."""


def toy_city() -> Experiment:
    """64×128, 200 steps: a trial takes about half a minute on two cores."""
    city = Stage("city", "toy_city", CityConfig(height=64, width=128))
    held_out = Stage(
        "city_held_out",
        "toy_city",
        CityConfig(height=64, width=128, images={"day": {"held_out": 40}, "night": {"held_out": 40}}),
        follows=dict.fromkeys(("height", "width", "city_seed"), "city"),
    )
    train = Stage(
        "train",
        "supervised",
        SupervisedConfig(
            train=("toy_city/day_train",),
            select="toy_city/day_val",
            height=64,
            width=128,
            batch_size=4,
            loss=LossConfig(alpha=0.5, normalise_focal=True),
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            loop=LoopConfig(steps=200, score_every_steps=50, log_every_steps=10, checkpoint_every_steps=50),
        ),
        {"toy_city": "city"},
    )
    arm = Arm(
        "supervised",
        train="train",
        evaluations=(
            Evaluation("day_val", "select"),
            Evaluation("day_test", "report"),
            Evaluation("night_test", "report"),
        ),
        source="day_val",
        target_unlabeled="night_val",
        target="night_test",
        held_out={
            "day_val": Evaluation("day_held_out", "held_out"),
            "night_test": Evaluation("night_held_out", "held_out"),
        },
    )
    return Experiment(
        name="demo",
        summary=SUMMARY,
        preset="toy_city",
        stages={
            "city": city,
            "train": train,
            **evaluation_stages("train", SPLITS, data={"toy_city": "city"}),
            "city_held_out": held_out,
            **evaluation_stages("train", HELD_OUT, data={"toy_city": "city_held_out"}),
        },
        arms={arm.name: arm},
        searches={"loss_alpha": {"train": "loss_alpha"}, "training": {"train": "training"}},
        objective="source_miou",
    )


PRESETS = {"toy_city": toy_city}
