"""Configuration of a stage in which a rank gets into trouble. Importing it registers the method, also in workers."""

from typing import Literal

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom
from trainers.registry import METHODS

VERSION = 1
SEED_FROM: SeedFrom = "trial"
METHODS.setdefault("drill", "tests.integration.drill")


class Loop(BaseConfig):
    """As long as a scheduler wants it."""

    steps: int = 4
    score_every_steps: int = 1


class Config(BaseConfig):
    """What goes wrong, where and how often."""

    value: float = 0.0
    loop: Loop = Loop()
    pause_seconds: float = 0.0
    trouble: Literal["none", "raise", "hang", "die", "die always", "memory"] = "none"
    rank: int = 1
    at: int = 3
