"""Width of FDA's window and weight of its entropy term.

At 100 pixels a window is empty below beta .01; smaller images take ``fda_beta_small``.
"""

from optuna.distributions import FloatDistribution

METHOD = "fda"
SPACE = {
    "beta": FloatDistribution(0.003, 0.15, log=True),
    "entropy_weight": FloatDistribution(1e-4, 0.05, log=True),
}
