"""The same as ``mic`` for images of 64 pixels, with patches of an eighth of its side."""

from optuna.distributions import CategoricalDistribution

from search_spaces import mic

METHOD = "dacs"
SPACE = {**mic.SPACE, "masked.patch": CategoricalDistribution((2, 4, 8, 16))}
