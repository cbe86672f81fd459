"""DFS: the weights of its pixel, perceptual and segmentation losses, around the published 10 each."""

from optuna.distributions import FloatDistribution

METHOD = "dfs"
SPACE = {
    "weights.pixel": FloatDistribution(1.0, 100.0, log=True),
    "weights.perceptual": FloatDistribution(1.0, 100.0, log=True),
    "weights.segmentation": FloatDistribution(0.1, 100.0, log=True),
}
