"""UNIT: the weights of its perceptual, cycle and adversarial losses, around the published 10, 100 and 10."""

from optuna.distributions import FloatDistribution

METHOD = "unit"
SPACE = {
    "weights.perceptual": FloatDistribution(1.0, 100.0, log=True),
    "weights.cycle": FloatDistribution(30.0, 300.0, log=True),
    "weights.gan": FloatDistribution(3.0, 30.0, log=True),
}
