"""How much each direction of mixing, and the discriminators, count beside DANNet's losses.

Published are .001, .001 and .01: with .001 the mixes are next to nothing. Each range reaches from a tenth of that, or
less, to the weight that DACS gives to the same loss on its mixes (1), or to five times the published one.
"""

from optuna.distributions import FloatDistribution

METHOD = "bimix"
SPACE = {
    "source_to_night.weight": FloatDistribution(1e-4, 1.0, log=True),
    "day_to_night.consistency_weight": FloatDistribution(1e-4, 1.0, log=True),
    "adversarial.weight": FloatDistribution(1e-4, 0.05, log=True),
}
