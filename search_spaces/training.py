"""How a segmenter is trained: learning rate, weight decay, and the share of cross-entropy in the loss.

Wide on purpose: most of it is bad, which is what early stopping is for.
"""

from optuna.distributions import FloatDistribution

METHOD = "supervised"
SPACE = {
    "optimizer.learning_rate": FloatDistribution(1e-5, 3e-2, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
    "loss.alpha": FloatDistribution(0.0, 1.0),
}
