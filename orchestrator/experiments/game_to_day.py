"""What adaptation closes of the gap between a game and real streets, on Toy City: FDA, DACS, and the leading recipe.

All arms but the ceiling go on from one stage per seed that was trained on labeled ``game`` images, for 400 steps.
Split roles: ``game_val`` selects checkpoints of the arms without adaptation, by mIoU; ``day_val`` those of all others,
by infomax, which needs no labels (a curve of their mIoU is kept, for whoever looks); ``day_test`` and ``game_test``
(forgetting) are reported. ``…adabn`` arms are others with the target's batch statistics.

``real`` settings of the same methods are arms of ``gta5_to_cityscapes``.
"""

from orchestrator.experiments.adaptation import DOCUMENT, SMALL_MIX, SMALL_RECIPE, SMALL_TEACHER, Study
from orchestrator.experiments.toy_city import DOMAINS, IMAGES
from orchestrator.graph import Experiment, Stage
from trainers.components.configs import AugmentationConfig, NetworkConfig, OptimizerConfig, PhotometricConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "Toy City, game → day: FDA, multi-band FDA, DACS in two forms and the leading recipe, from one source stage"

AUG_1_2 = AugmentationConfig(horizontal_flip=0.5, photometric=PhotometricConfig(probability=0.5))
"""Augmentations 1 and 2 of the GTA5 → Cityscapes document: flip; jitter, blur and gamma."""

BETAS = (0.016, 0.05, 0.09)
"""Windows of 3, 7 and 11 frequencies at 64 pixels; the source's .01 is empty there."""


def toy_city() -> Experiment:
    """64×128, 800 + 400 steps."""
    optimizer = OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2)
    loop = {"log_every_steps": 20, "checkpoint_every_steps": 100}
    source = SupervisedConfig(
        train=("toy_city/game_train",),
        select="toy_city/game_val",
        height=64,
        width=128,
        batch_size=4,
        optimizer=optimizer,
        loop=LoopConfig(steps=800, score_every_steps=100, **loop),
    )
    study = Study(
        source=source,
        target="toy_city/day_train",
        target_select="toy_city/day_val",
        adaptation=LoopConfig(steps=400, score_every_steps=50, **loop),
        select={"game_val": "toy_city/game_val"},
        report={"day_test": "toy_city/day_test", "game_test": "toy_city/game_test"},
        data={"toy_city": "city"},
    )
    study.stages["city"] = Stage("city", "toy_city", CityConfig(images=dict.fromkeys(DOMAINS, IMAGES)))
    study.add_source("source")
    study.add_source("source_aug12", augmentation=AUG_1_2)
    study.add_source("source_target", train=("toy_city/day_train",), select="toy_city/day_val")
    study.add_source("source_segformer", network=NetworkConfig(architecture="Segformer", encoder="mit_b0"))
    study.add_supervised("source_only", initial="source")
    study.add_supervised("aug12", initial="source_aug12")
    study.add_adaptation("fda", "fda", initial="source", beta=0.05)
    study.add_multiband("fda_multiband", initial="source", betas=BETAS)
    study.add_adaptation("dacs", "dacs", initial="source", teacher=SMALL_TEACHER, mix=SMALL_MIX)
    study.add_adaptation("dacs_document", "dacs", initial="source", **DOCUMENT, mix=SMALL_MIX)
    warm_up = optimizer.model_copy(update={"warmup_steps": 15})
    study.add_adaptation("reference", "dacs", initial="source", **SMALL_RECIPE, optimizer=warm_up)
    study.add_supervised("segformer_source_only", initial="source_segformer")
    study.add_adaptation("segformer_reference", "dacs", initial="source_segformer", **SMALL_RECIPE, optimizer=warm_up)
    study.add_supervised("target_supervised", initial="source_target")
    for name, arm in {"adabn": "source_only", "fda_adabn": "fda", "dacs_adabn": "dacs"}.items():
        study.add_adabn(name, of=arm)
    return Experiment(
        name="game_to_day",
        summary=SUMMARY,
        preset="toy_city",
        stages=study.stages,
        arms=study.arms,
        searches={
            "fda_beta": {"train_fda": "fda_beta_small"},
            "dacs": {"train_dacs": "dacs"},
            "mic": {"train_reference": "mic_small"},
        },
        objective="target_infomax",
        baseline="source_only",
    )


PRESETS = {"toy_city": toy_city}
