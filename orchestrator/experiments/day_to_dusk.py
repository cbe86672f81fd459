"""Adaptation on real photographs: CamVid by day is labeled, its dusk is not.

Split roles: ``day_val`` selects checkpoints of the arm without adaptation; ``dusk_adapt``, which has no labels, trains
the others and selects their checkpoints by infomax; ``dusk_val`` is reported, and ``day_val`` too (forgetting).
CamVid has no held-out split.
"""

from orchestrator.experiments.adaptation import Study
from orchestrator.experiments.camvid import camvid
from orchestrator.graph import Experiment
from trainers.components.configs import LossConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "CamVid, day → dusk: FDA and DACS on real photographs, 192×256, from one source stage"


def day_to_dusk() -> Experiment:
    """192×256 (height × width), 320 + 160 steps, batch 6."""
    trained = camvid().stages["train"].config
    assert isinstance(trained, SupervisedConfig)
    study = Study(
        source=trained.model_copy(update={"loss": LossConfig()}),
        target="camvid/dusk_adapt",
        target_select="camvid/dusk_adapt",
        adaptation=LoopConfig(steps=160, score_every_steps=40, log_every_steps=10, checkpoint_every_steps=40),
        select={"day_val": "camvid/day_val"},
        report={"dusk_val": "camvid/dusk_val"},
    )
    study.add_source("source")
    study.add_supervised("source_only", initial="source")
    study.add_adabn("adabn", of="source_only")
    study.add_adaptation("fda", "fda", initial="source", beta=0.01)
    # A time constant of 25 steps, less than a fifth of the adaptation.
    study.add_adaptation("dacs", "dacs", initial="source", teacher={"rate": 0.04})
    return Experiment(
        name="day_to_dusk",
        summary=SUMMARY,
        preset="camvid",
        stages=study.stages,
        arms=study.arms,
        searches={"fda_beta": {"train_fda": "fda_beta_medium"}, "dacs": {"train_dacs": "dacs"}},
        objective="target_infomax",
        baseline="source_only",
    )


PRESETS = {"camvid": day_to_dusk}
