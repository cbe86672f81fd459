"""pix2pixHD: the weights of feature matching and of the perceptual loss, around the published 10 and 10."""

from optuna.distributions import FloatDistribution

METHOD = "pix2pixhd"
SPACE = {
    "weights.feature_matching": FloatDistribution(1.0, 100.0, log=True),
    "weights.perceptual": FloatDistribution(1.0, 100.0, log=True),
}
