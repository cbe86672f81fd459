"""The same as ``fda_beta`` for images of 64 pixels, where no smaller beta leaves a window."""

from optuna.distributions import FloatDistribution

from search_spaces import fda_beta

METHOD = "fda"
SPACE = {**fda_beta.SPACE, "beta": FloatDistribution(0.016, 0.15, log=True)}
