"""The gaps of Toy City: train on each domain, look at all of them.

The yardstick of every study on Toy City: what a segmenter loses that was trained on another domain, and what one
reaches that was trained on the domain itself. Split roles: ``<domain>_val`` selects checkpoints, ``<domain>_test`` is
reported; ``<domain>_held_out`` is for ``confirm``.
"""

from orchestrator.graph import Arm, Evaluation, Experiment, Stage, evaluation_stages
from trainers.components.configs import OptimizerConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "Toy City: FPN-ResNet18 trained on day, night, fog and game, each scored on all four"

DOMAINS = ("day", "night", "fog", "game")
IMAGES = {"train": 320, "val": 40, "test": 80}
HELD_OUT = {"held_out": 80}
"""Rendered, and scored, by ``confirm`` alone."""
TARGETS = {"day": "night", "night": "day", "fog": "day", "game": "day"}
"""Domain trained on → the domain that ``target_miou`` and ``target_infomax`` look at."""


def toy_city() -> Experiment:
    """64×128, 800 steps: about a minute and a half a training on two cores."""
    stages = {
        "city": Stage("city", "toy_city", CityConfig(images=dict.fromkeys(DOMAINS, IMAGES))),
        "city_held_out": Stage(
            "city_held_out",
            "toy_city",
            CityConfig(images=dict.fromkeys(DOMAINS, HELD_OUT)),
            follows=dict.fromkeys(("height", "width", "city_seed"), "city"),
        ),
    }
    arms = {}
    for domain in DOMAINS:
        train = f"train_{domain}"
        config = SupervisedConfig(
            train=(f"toy_city/{domain}_train",),
            select=f"toy_city/{domain}_val",
            height=64,
            width=128,
            batch_size=4,
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            loop=LoopConfig(steps=800, score_every_steps=100, log_every_steps=20, checkpoint_every_steps=100),
        )
        stages[train] = Stage(train, "supervised", config, {"toy_city": "city"})
        names = [f"{domain}_val", *(f"{other}_test" for other in DOMAINS), f"{TARGETS[domain]}_val"]
        splits = {f"{train}:{name}": f"toy_city/{name}" for name in names}
        stages |= evaluation_stages(train, splits, data={"toy_city": "city"})
        splits = {f"{train}:{other}_held_out": f"toy_city/{other}_held_out" for other in DOMAINS}
        stages |= evaluation_stages(train, splits, data={"toy_city": "city_held_out"})
        arms[domain] = Arm(
            domain,
            train=train,
            evaluations=(
                Evaluation(f"{domain}_val", "select", f"{train}:{domain}_val"),
                *(Evaluation(f"{other}_test", "report", f"{train}:{other}_test") for other in DOMAINS),
            ),
            source=f"{train}:{domain}_val",
            target_unlabeled=f"{train}:{TARGETS[domain]}_val",
            target=f"{train}:{TARGETS[domain]}_test",
            held_out={
                f"{other}_{'val' if other == domain else 'test'}": Evaluation(
                    f"{other}_held_out", "held_out", f"{train}:{other}_held_out"
                )
                for other in DOMAINS
            },
        )
    return Experiment(
        name="toy_city",
        summary=SUMMARY,
        preset="toy_city",
        stages=stages,
        arms=arms,
        searches={},
        objective="source_miou",
    )


PRESETS = {"toy_city": toy_city}
