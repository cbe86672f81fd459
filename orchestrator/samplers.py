"""How configurations are chosen: Optuna's samplers, and the exact points of a grid."""

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from trainers.errors import UserError

if TYPE_CHECKING:
    import optuna

SamplerName = Literal["tpe", "random", "grid"]


def sampler(name: SamplerName, seed: int) -> "optuna.samplers.BaseSampler":
    """An Optuna sampler; TPE knows that running trials are not worth repeating."""
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def grid(space: Mapping[str, Any], trials: int) -> list[dict[str, Any]]:
    """The points of a grid of about ``trials`` points: every choice of categories, numbers evenly spaced.

    Each numeric axis gets the largest number of points with which the grid has at most ``trials`` points.

    Raises:
        UserError: not even the categories fit.
    """
    from optuna.distributions import CategoricalDistribution

    choices = {name: list(one.choices) for name, one in space.items() if isinstance(one, CategoricalDistribution)}
    numeric = [name for name in space if name not in choices]
    categories = math.prod(len(values) for values in choices.values())
    each = trials // categories
    while numeric and each > 1 and categories * each ** len(numeric) > trials:
        each -= 1
    if each < 1:
        raise UserError(f"--sampler grid needs at least {categories} trials for the categories alone, got {trials}")
    axes = {name: choices[name] if name in choices else _points(space[name], each) for name in space}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _points(distribution: Any, count: int) -> list[float | int]:
    """``count`` evenly spaced values with both ends; one value lies in the middle."""
    low, high, log = distribution.low, distribution.high, distribution.log
    fractions = [0.5] if count == 1 else [index / (count - 1) for index in range(count)]
    if log:
        values = [math.exp(math.log(low) + fraction * (math.log(high) - math.log(low))) for fraction in fractions]
    else:
        values = [low + fraction * (high - low) for fraction in fractions]
    values = [min(max(value, low), high) for value in values]
    if isinstance(low, int):
        return sorted({low + round((value - low) / distribution.step) * distribution.step for value in values})
    if distribution.step:
        values = [low + round((value - low) / distribution.step) * distribution.step for value in values]
    return sorted(set(values))


def tellable(params: Mapping[str, Any], recorded: Mapping[str, Any], space: Mapping[str, Any]) -> bool:
    """Whether Optuna can learn from ``params`` although the space may have been edited since.

    It refuses categories that changed, another kind of distribution, and values that a logarithm cannot take.
    """
    from optuna.distributions import CategoricalDistribution

    for name, value in params.items():
        if name not in space:
            continue
        then, now = recorded[name], space[name]
        if type(then) is not type(now):
            return False
        if isinstance(now, CategoricalDistribution):
            if then.choices != now.choices:
                return False
        elif now.log and value <= 0:
            return False
    return True
