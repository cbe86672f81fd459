"""Which image a training step sees, as pure functions of (seed, step, slot).

Nothing here keeps state, so a run that continues at step k draws what the uninterrupted run drew, with any
number of loader workers, and rank r of w sees exactly the slots r, r + w, … of the whole batch.
"""

import hashlib
from functools import lru_cache

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from ``parts``; unlike sums or products, near inputs give unrelated seeds."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    """The permutation of sample indices of one epoch."""
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(num_samples)


def sample_index(seed: int, step: int, slot: int, *, batch_size: int, num_samples: int) -> int:
    """The sample in ``slot`` (0 … batch_size - 1) of ``step`` (from 1): shuffled, without repeats in an epoch."""
    position = (step - 1) * batch_size + slot
    epoch, within = divmod(position, num_samples)
    return int(epoch_order(seed, epoch, num_samples)[within])
