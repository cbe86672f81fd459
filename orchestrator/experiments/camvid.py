"""Real photographs: train on CamVid by day, look at the dusk.

Split roles: ``day_train`` trains; ``day_val`` selects checkpoints and hyper-parameters and is reported too (for
forgetting); ``dusk_val`` is reported; ``dusk_adapt`` has no labels. CamVid has no held-out split.
"""

from orchestrator.graph import Arm, Evaluation, Experiment, Stage, evaluation_stages
from trainers.components.configs import AugmentationConfig, LossConfig, OptimizerConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "CamVid, day → dusk: FPN-ResNet18 on day frames, 192×256; the dusk gap on real photographs"

SPLITS = {"day_val": "camvid/day_val", "dusk_adapt": "camvid/dusk_adapt", "dusk_val": "camvid/dusk_val"}


def camvid() -> Experiment:
    """192×256 (height × width), 320 steps from random weights: about 8 minutes a trial on two cores."""
    train = Stage(
        "train",
        "supervised",
        SupervisedConfig(
            train=("camvid/day_train",),
            select="camvid/day_val",
            height=192,
            width=256,
            batch_size=6,
            loss=LossConfig(alpha=0.5, normalise_focal=True),
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            augmentation=AugmentationConfig(horizontal_flip=0.5),
            loop=LoopConfig(steps=320, score_every_steps=80, log_every_steps=10, checkpoint_every_steps=40),
        ),
    )
    arm = Arm(
        "supervised",
        train="train",
        evaluations=(Evaluation("day_val", "select"), Evaluation("dusk_val", "report")),
        source="day_val",
        target_unlabeled="dusk_adapt",
        target="dusk_val",
    )
    return Experiment(
        name="camvid",
        summary=SUMMARY,
        preset="camvid",
        stages={"train": train, **evaluation_stages("train", SPLITS)},
        arms={arm.name: arm},
        searches={"loss_alpha": {"train": "loss_alpha"}},
        objective="source_miou",
    )


PRESETS = {"camvid": camvid}
