"""Share of cross-entropy against focal loss.

With ``normalise_focal`` both terms have one scale; without, alpha mostly rescales the learning rate.
"""

from optuna.distributions import FloatDistribution

METHOD = "supervised"
SPACE = {"loss.alpha": FloatDistribution(0.0, 1.0)}
