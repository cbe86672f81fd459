"""Masked image consistency: its weight, the share of hidden patches and their size in pixels."""

from optuna.distributions import CategoricalDistribution, FloatDistribution

METHOD = "dacs"
SPACE = {
    "masked.weight": FloatDistribution(0.1, 2.0, log=True),
    "masked.ratio": FloatDistribution(0.3, 0.8),
    "masked.patch": CategoricalDistribution((16, 32, 64, 128)),
}
