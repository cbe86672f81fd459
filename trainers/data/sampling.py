"""Which image a training step sees, as pure functions of (seed, step, slot).

Nothing here keeps state, so a run that continues at step k draws what the uninterrupted run drew, with any
number of loader workers, and rank r of w sees exactly the slots r, r + w, … of the whole batch.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainers.errors import UserError


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


@dataclass(frozen=True)
class RareClasses:
    """What rare-class sampling draws from."""

    probabilities: np.ndarray
    """Of drawing each class (19); 0 where no image shows it."""
    images: tuple[np.ndarray, ...]
    """The images that show each class."""
    min_pixels: float
    """From how many pixels on an image shows a class."""

    @classmethod
    def of(cls, class_pixels: np.ndarray, *, temperature: float, min_pixels: float) -> "RareClasses":
        """``class_pixels`` are the pixels of each class in each image (images × 19).

        Raises:
            UserError: no image shows any class.
        """
        images = tuple(np.flatnonzero(column >= min_pixels) for column in class_pixels.T)
        shown = np.array([len(one) > 0 for one in images])
        if not shown.any():
            raise UserError(
                f"rare-class sampling: no image holds {min_pixels:.0f} pixels of any class; "
                "lower rare_classes.min_share"
            )
        return cls(rare_class_probabilities(class_pixels.sum(axis=0), shown, temperature), images, min_pixels)

    def draw(self, seed: int, step: int, slot: int) -> tuple[int, int]:
        """(class, image) in ``slot`` of ``step``."""
        rng = np.random.default_rng(derive_seed(seed, "rare class", step, slot))
        train_id = int(rng.choice(len(self.probabilities), p=self.probabilities))
        return train_id, int(rng.choice(self.images[train_id]))


def rare_class_probabilities(pixels: np.ndarray, shown: np.ndarray, temperature: float) -> np.ndarray:
    """exp((1 - f_c) / T), normalized over the classes that are ``shown``; f_c = pixels of c / pixels of all."""
    exponent = np.where(shown, (1 - pixels / pixels.sum()) / temperature, -np.inf)
    weights = np.exp(exponent - exponent.max())
    probabilities: np.ndarray = weights / weights.sum()
    return probabilities
