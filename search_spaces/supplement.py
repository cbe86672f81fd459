"""How many recombined maps, and how small a single-class map may be."""

from optuna.distributions import FloatDistribution

METHOD = "recombine"
SPACE = {
    "ratio": FloatDistribution(0.25, 2.0, log=True),
    "min_share": FloatDistribution(1e-4, 5e-3, log=True),
}
