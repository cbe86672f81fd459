"""Share of cross-entropy against focal loss, as ``loss_alpha``, in self-training."""

from optuna.distributions import FloatDistribution

METHOD = "self_training"
SPACE = {"loss.alpha": FloatDistribution(0.0, 1.0)}
