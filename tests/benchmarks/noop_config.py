"""Configuration of a stage that does nothing. Importing it registers the method, also in Ray's processes."""

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom
from trainers.registry import METHODS

VERSION = 1
SEED_FROM: SeedFrom = "trial"
METHODS.setdefault("noop", "tests.benchmarks.noop")


class Config(BaseConfig):
    """Nothing but what tells two trials apart."""

    value: float = 0.0
