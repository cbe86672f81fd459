"""What a mix teaches and how far the teacher is believed. Source of the ranges: published values of DACS's descendants.

``teacher.rate`` is 1 - alpha; nothing of it is left where the teacher is the student.
"""

from optuna.distributions import FloatDistribution

METHOD = "dacs"
SPACE = {
    "threshold": FloatDistribution(0.8, 0.99),
    "teacher.rate": FloatDistribution(1e-4, 1e-1, log=True),
    "mix.share": FloatDistribution(0.3, 0.7),
    "mix.jitter_strength": FloatDistribution(0.0, 0.5),
    "unlabeled_weight": FloatDistribution(0.1, 2.0),
}
