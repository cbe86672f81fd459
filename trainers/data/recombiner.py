"""What a supplement of recombined label maps consists of: which class goes into which map, and each map by its number.

Shape legend: n images or maps, c classes, k classes of a map.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from trainers.components.class_laws import plan_classes, wanted_shares
from trainers.data.donors import DonorBank, SplitMaps
from trainers.data.label_spaces import CLASS_NAMES, NUM_CLASSES
from trainers.data.recombination import TRAIN_IDS, Donor, LabelMap, recombine
from trainers.data.recombine_config import Config
from trainers.data.sampling import derive_seed, sample_index
from trainers.errors import UserError

PILOTS = 32
"""Maps that each class is pasted into on trial, to know what it gains where a law decides who is pasted."""


@dataclass(frozen=True)
class Recombiner:
    """New maps by number; each is a pure function of the seed and its number."""

    config: Config
    maps: SplitMaps
    bank: DonorBank
    candidates: Int64[np.ndarray, " c"]
    """Train ids of the classes that may be pasted."""
    classes: Int64[np.ndarray, "n k"]
    """Those that each new map adds."""
    seed: int

    def base(self, number: int) -> int:
        """The image that map ``number`` starts from."""
        seed = derive_seed(self.seed, "bases")
        return sample_index(seed, number + 1, 0, batch_size=1, num_samples=len(self.maps.samples))

    def name(self, number: int) -> str:
        """Beginning of the names of its files, which tells its base."""
        return f"train/recombined/recombined_{number:06d}_{self.base(number):06d}"

    def __getitem__(self, number: int) -> tuple[LabelMap, tuple[int, ...]]:
        """The map, and the train ids of what was pasted."""
        base = self.base(number)
        return recombine(
            self.maps[base],
            [(train_id, self._donors(number, train_id, base)) for train_id in self.classes[number].tolist()],
            order=[CLASS_NAMES.index(name) for name in self.config.order],
            replace=self.config.kind == "reconstruct",
            min_pixels=self.maps.pixels(self.config.min_share),
        )

    def _donors(self, number: int, train_id: int, base: int) -> Iterator[Donor]:
        found = self.bank.donors(train_id, self.maps.pixels(self.config.min_share))
        rng = np.random.default_rng(derive_seed(self.seed, "donors", number, train_id))
        for index in rng.permutation(found[found != base])[: self.config.donor_tries].tolist():
            yield self.bank.donor(train_id, index, self.maps)


def pasteable(config: Config, bank: DonorBank, min_pixels: float) -> Int64[np.ndarray, " c"]:
    """Train ids of the classes that may be pasted.

    Raises:
        UserError: a class that is asked for has no donor.
    """
    has_donor = [len(bank.donors(train_id, min_pixels)) > 0 for train_id in range(NUM_CLASSES)]
    if config.classes is None:
        return np.flatnonzero(has_donor)
    classes = np.array([CLASS_NAMES.index(name) for name in config.classes])
    for train_id in classes.tolist():
        if not has_donor[train_id]:
            most = int(bank.pixels[:, train_id].max())
            raise UserError(
                f"{CLASS_NAMES[train_id]} has no donor: an image of {config.split} must show {math.ceil(min_pixels)} "
                f"pixels of it, and the most is {most}; leave it out of classes, or lower min_share "
                f"({config.min_share:g})"
            )
    return classes


def plan(
    config: Config, maps: SplitMaps, bank: DonorBank, candidates: Int64[np.ndarray, " c"], seed: int
) -> Int64[np.ndarray, "n k"]:
    """The classes that each new map adds.

    Raises:
        UserError: there are fewer than ``classes_per_map``.
    """
    images = len(bank.pixels)
    count = max(1, round(config.ratio * images))
    if config.law is None or config.classes_per_map is None:
        return np.tile(candidates, (count, 1))
    if config.classes_per_map > len(candidates):
        raise UserError(
            f"classes_per_map is {config.classes_per_map}, and {config.split} has donors of {len(candidates)} classes"
        )
    pixels = bank.pixels.sum(axis=0)[candidates]
    gains = expected_gains(config, maps, bank, candidates, seed)
    # The bases of the supplement bring the split's own shares once more.
    with_bases = pixels * (1 + count / images)
    wanted = wanted_shares(pixels, config.law)
    return candidates[plan_classes(with_bases, gains, wanted, maps=count, classes_per_map=config.classes_per_map)]


def expected_gains(
    config: Config, maps: SplitMaps, bank: DonorBank, candidates: Int64[np.ndarray, " c"], seed: int
) -> Float64[np.ndarray, " c"]:
    """Pixels that a class has more of in a map that it is pasted into, on average, at least 1.

    The area of its donors would be too much, by up to twenty times: what stands in front hides a part, and a part
    falls on the class itself. So each class is pasted into a few maps that nobody keeps.
    """
    pilot = Recombiner(
        config, maps, bank, candidates, np.repeat(candidates, PILOTS)[:, None], derive_seed(seed, "pilot")
    )

    def gain(number: int) -> int:
        train_id = int(pilot.classes[number, 0])
        made, _ = pilot[number]
        return int((TRAIN_IDS[made.labels] == train_id).sum() - bank.pixels[pilot.base(number), train_id])

    with ThreadPoolExecutor(config.threads) as pool:
        gains = list(pool.map(gain, range(len(pilot.classes))))
    means: Float64[np.ndarray, " c"] = np.reshape(gains, (-1, PILOTS)).mean(axis=1)
    return np.maximum(1.0, means)
