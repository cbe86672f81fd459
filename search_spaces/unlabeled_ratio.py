"""Unlabeled images for each labeled one; the source's experiments go from .24 to 2.5."""

from optuna.distributions import FloatDistribution

METHOD = "selection"
SPACE = {"unlabeled_ratio": FloatDistribution(0.05, 2.5, log=True)}
