"""From the scores of a pool to the images that are taken: which are accepted, and which of those, up to a number."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainers.errors import UserError

Order = Literal["random", "score", "quantile_match"]


@dataclass(frozen=True)
class Accepted:
    """The accepted part of a pool."""

    positions: np.ndarray
    """In the pool, ascending."""
    threshold: float | None
    """Largest score that was let in; ``None``: any."""
    quantile: float | None
    """Share of the pool at or below it."""


def accept(
    scores: np.ndarray, *, lower: float | None, threshold: float | None, quantile: float | None, what: str
) -> Accepted:
    """The images with ``lower`` < score ≤ ``threshold`` that are also of the share ``quantile`` with the lowest scores.

    Args:
        scores: of all images (n,).
        lower, threshold: in the unit of the scores; ``None``: no bound.
        quantile: in (0, 1]; ``None``: no bound. With ``threshold`` both must hold.
        what: what is selected from, for messages.

    Raises:
        UserError: no image is accepted; it says how the scores lie.
    """
    bounds = [] if threshold is None else [threshold]
    if quantile is not None:  # The smallest score that so large a share of the pool does not exceed.
        bounds.append(float(np.quantile(scores, quantile, method="inverted_cdf")))
    upper = min(bounds, default=None)
    taken = np.ones(len(scores), dtype=bool)
    if upper is not None:
        taken &= scores <= upper
    if lower is not None:
        taken &= scores > lower
    if not taken.any():
        asked = f"above {lower:g}" if lower is not None else ""
        asked += (" and " if asked and upper is not None else "") + (f"up to {upper:g}" if upper is not None else "")
        raise UserError(
            f"no image of {what} has a score {asked}: scores go from {scores.min():.6g} to {scores.max():.6g}, median "
            f"{np.median(scores):.6g}; set threshold, quantile or lower within them"
        )
    return Accepted(np.flatnonzero(taken), upper, None if upper is None else float((scores <= upper).mean()))


def take(
    scores: np.ndarray, accepted: Accepted, count: int, *, order: Order, seed: int, wanted: np.ndarray | None = None
) -> np.ndarray:
    """``count`` positions of the accepted images, ascending; all where there are no more.

    Args:
        scores: of all images (n,).
        accepted: by ``accept``.
        count: at least 1.
        order: ``random``; ``score``: the lowest; ``quantile_match``: those whose scores are distributed as ``wanted``.
        seed: of ``random``.
        wanted: scores of the reference (m,), for ``quantile_match``.
    """
    positions = accepted.positions
    if count >= len(positions):
        return positions
    if order == "score":
        chosen = positions[np.argsort(scores[positions], kind="stable")[:count]]
    elif order == "random":
        chosen = np.random.default_rng(seed).permutation(positions)[:count]
    else:
        assert wanted is not None
        ranked = positions[np.argsort(scores[positions], kind="stable")]
        goals = np.quantile(wanted, (np.arange(count) + 0.5) / count)
        chosen = ranked[match(scores[ranked], goals)]
    return np.sort(chosen)


def match(values: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Positions of the ``len(goals)`` of ``values`` (both ascending) that lie nearest to the goals, one for each.

    The sum of |value - goal| is the smallest that any choice has. On a line such a choice keeps the order, so goal by
    goal the best cost with the last value at or before each position is a running minimum.
    """
    count, available = len(goals), len(values)
    cost = np.zeros(available + 1)
    taken = np.zeros((count, available), dtype=bool)
    for number, goal in enumerate(goals):
        with_this = cost[:-1] + np.abs(values - goal)
        best = np.minimum.accumulate(with_this)
        taken[number] = with_this <= best
        cost = np.concatenate([[np.inf], best])
    chosen, end = np.empty(count, dtype=np.int64), available
    for number in range(count - 1, -1, -1):
        end = int(np.flatnonzero(taken[number, :end])[-1])
        chosen[number] = end
    return chosen
