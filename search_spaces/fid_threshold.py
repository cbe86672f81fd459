"""How many images of the pool are near enough: the share that a Fréchet distance accepts. Source: .107."""

from optuna.distributions import FloatDistribution

METHOD = "selection"
SPACE = {"quantile": FloatDistribution(0.03, 0.6)}
