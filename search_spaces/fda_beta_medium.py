"""The same as ``fda_beta`` for images of 192 pixels, where no smaller beta leaves a window."""

from optuna.distributions import FloatDistribution

from search_spaces import fda_beta

METHOD = "fda"
SPACE = {**fda_beta.SPACE, "beta": FloatDistribution(0.0053, 0.15, log=True)}
