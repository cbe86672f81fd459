"""Recombine label maps as a stage: a supplement in which rare classes are less rare, in the layout of Cityscapes.

Each new map is a base with single-class maps of other images of the split, pasted where they were. A base is never its
own donor; bases are shuffled and none comes twice before all came once.

Source: the label balancing document, method, step 2 (single-class maps, three ways to recombine them). It gives no
    amount, no law and no overlap: they are fields.

Shape legend: n images or maps, c classes.
"""

import io
import math
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image

from trainers.components.class_laws import distance_to, plan_classes, wanted_shares
from trainers.context import TrainContext
from trainers.data.datasets import decode, open_split
from trainers.data.donors import DonorBank, SplitMaps, areas_and_boxes
from trainers.data.images import count_classes
from trainers.data.instances import check_instances
from trainers.data.label_spaces import CLASS_NAMES, NUM_CLASSES
from trainers.data.made_files import keep_files, save_png, take_back_files
from trainers.data.packed import is_packed
from trainers.data.recombination import TRAIN_IDS, Donor, LabelMap, recombine
from trainers.data.recombine_config import Config
from trainers.data.samples import Sample
from trainers.data.sampling import derive_seed, sample_index
from trainers.errors import UserError
from trainers.pictures import class_bars, evenly_spaced, label_picture, write_panel

ESTIMATED_FROM = 8
"""Maps that are made in memory to estimate what all of them take."""
DISK_MARGIN = 1.1


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent and packed data, and label maps without instance maps."""
    if config.split.dataset in inputs:
        _open(config, inputs)


def _open(config: Config, inputs: Mapping[str, Path]) -> list[Sample]:
    if is_packed(inputs[config.split.dataset]):
        raise UserError(f"{inputs[config.split.dataset]} is packed, with train ids alone; name the original folder")
    samples = open_split(inputs, config.split)
    check_instances(samples, "recombination needs label and instance maps")
    return samples


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

    def __getitem__(self, number: int) -> LabelMap:
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


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Write ``gtFine/train/…_{labelIds,instanceIds,color}.png`` and, with ``images``, ``leftImg8bit/train/…``.

    Returns:
        ``maps``; by class name ``shares_before`` (of the split's labeled pixels), ``shares_supplement`` and
        ``shares_after`` (of both together), and ``showing_before`` and ``showing_after``: the share of images with
        enough of the class for a donor. Under a law the ``distance_to_law`` before and after, among its classes.
    """
    size = None if config.height is None or config.width is None else (config.height, config.width)
    samples = _open(config, inputs)
    maps = SplitMaps(samples, size=size, images=config.images, cache_bytes=config.cache_bytes)
    bank = _bank(config, maps, context)
    min_pixels = maps.pixels(config.min_share)
    candidates = _candidates(config, bank, min_pixels)
    recombiner = Recombiner(config, maps, bank, candidates, plan(config, bank, candidates, min_pixels), seed)
    if context.rank == 0:
        take_back_files(context.resume(), output)
        for tree in ("gtFine", *(("leftImg8bit",) if config.images else ())):
            (output / tree / "train" / "recombined").mkdir(parents=True, exist_ok=True)
    context.barrier()
    check_disk(recombiner, output)
    context.barrier()  # Nobody writes while another still looks at what is free.
    _write_all(recombiner, output, context)
    made = _count(recombiner, output, context)
    if context.rank == 0:
        _draw(recombiner, output, made)
    return {"maps": len(made), **_statistics(recombiner, made)}


def _bank(config: Config, maps: SplitMaps, context: TrainContext) -> DonorBank:
    """Every map read once, each by one rank."""
    rows = torch.zeros(len(maps.samples), NUM_CLASSES, 5, dtype=torch.int64)
    mine = range(context.rank, len(maps.samples), context.world_size)
    with ThreadPoolExecutor(config.threads) as pool:
        for index, (pixels, boxes) in zip(mine, pool.map(lambda i: areas_and_boxes(maps[i]), mine), strict=True):
            rows[index] = torch.from_numpy(np.concatenate([pixels[:, None], boxes], axis=1))
    whole = context.all_reduce(rows.to(context.device)).cpu().numpy()
    return DonorBank(whole[..., 0], whole[..., 1:])


def _candidates(config: Config, bank: DonorBank, min_pixels: float) -> Int64[np.ndarray, " c"]:
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
    config: Config, bank: DonorBank, candidates: Int64[np.ndarray, " c"], min_pixels: float
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
    gains = np.array([bank.pixels[bank.donors(one, min_pixels), one].mean() for one in candidates.tolist()])
    # The bases of the supplement bring the split's own shares once more.
    with_bases = pixels * (1 + count / images)
    wanted = wanted_shares(pixels, config.law)
    return candidates[plan_classes(with_bases, gains, wanted, maps=count, classes_per_map=config.classes_per_map)]


def _label_path(recombiner: Recombiner, output: Path, number: int) -> Path:
    """The file that is written last: with it a map is whole."""
    return output / "gtFine" / f"{recombiner.name(number)}_gtFine_labelIds.png"


def _files(recombiner: Recombiner, number: int) -> dict[str, np.ndarray | Image.Image]:
    """Name → content of all files of a map."""
    made, name = recombiner[number], recombiner.name(number)
    files: dict[str, np.ndarray | Image.Image] = {
        f"gtFine/{name}_gtFine_instanceIds.png": made.instances,
        f"gtFine/{name}_gtFine_color.png": label_picture(TRAIN_IDS[made.labels]),
        f"gtFine/{name}_gtFine_labelIds.png": made.labels,
    }
    return files if made.image is None else {f"leftImg8bit/{name}_leftImg8bit.png": made.image, **files}


def check_disk(recombiner: Recombiner, output: Path) -> None:
    """Refuse a supplement that would not fit, by the size of a few of its maps.

    Raises:
        UserError: with both sizes.
    """
    total = len(recombiner.classes)
    absent = [number for number in range(total) if not _label_path(recombiner, output, number).exists()]
    looked_at = [absent[place] for place in evenly_spaced(ESTIMATED_FROM, len(absent))] if absent else []
    sizes = [sum(map(_encoded_bytes, _files(recombiner, number).values())) for number in looked_at]
    needed = DISK_MARGIN * float(np.mean(sizes)) * len(absent) if sizes else 0.0
    free = shutil.disk_usage(output).free
    if needed > free:
        raise UserError(
            f"a supplement of {total} maps needs about {needed / 1e9:.3g} GB, and {output} has {free / 1e9:.3g} GB "
            f"free; lower ratio ({recombiner.config.ratio:g}), set images=false or a smaller height and width"
        )


def _encoded_bytes(content: np.ndarray | Image.Image) -> int:
    file = io.BytesIO()
    picture = Image.fromarray(content) if isinstance(content, np.ndarray) else content
    picture.save(file, format="PNG")
    return len(file.getvalue())


def _write_all(recombiner: Recombiner, output: Path, context: TrainContext) -> None:
    """This rank's share; every rank reports as often as the others, also with a map less."""
    config, total = recombiner.config, len(recombiner.classes)

    def write(number: int) -> None:
        if not _label_path(recombiner, output, number).exists():
            for name, content in _files(recombiner, number).items():
                save_png(content, output / name)

    rounds, mine = -(-total // context.world_size), range(context.rank, total, context.world_size)
    with ThreadPoolExecutor(config.threads) as pool:
        for start in range(0, rounds, config.checkpoint_every_images):
            end = min(rounds, start + config.checkpoint_every_images)
            list(pool.map(write, mine[start:end]))
            if end < rounds:
                context.barrier()  # What the others wrote before is whole.
                context.report({"step": end, "steps": rounds}, lambda folder: keep_files(output, folder))
    context.barrier()


def _count(recombiner: Recombiner, output: Path, context: TrainContext) -> Int64[np.ndarray, "n c"]:
    """Pixels of each class in each map, as written."""
    counts = torch.zeros(len(recombiner.classes), NUM_CLASSES, dtype=torch.int64)
    for number in range(context.rank, len(counts), context.world_size):
        labels = np.asarray(decode(_label_path(recombiner, output, number)))
        counts[number] = torch.from_numpy(count_classes(TRAIN_IDS[labels]))
    summed: np.ndarray = context.all_reduce(counts.to(context.device)).cpu().numpy()
    return summed


def _statistics(recombiner: Recombiner, made: Int64[np.ndarray, "n c"]) -> dict[str, Any]:
    config, before = recombiner.config, recombiner.bank.pixels
    after = np.concatenate([before, made])
    shares = {"before": before, "supplement": made, "after": after}
    found: dict[str, Any] = {f"shares_{when}": _named(one.sum(axis=0) / one.sum()) for when, one in shares.items()}
    for when, one in (("before", before), ("after", after)):
        enough = recombiner.maps.pixels(config.min_share)
        found[f"showing_{when}"] = _named((one >= enough).mean(axis=0))
    if config.law is not None:
        classes = recombiner.candidates
        wanted = wanted_shares(before.sum(axis=0)[classes], config.law)
        pairs = (("before", before), ("after", after))
        found["distance_to_law"] = {when: distance_to(one.sum(axis=0)[classes], wanted) for when, one in pairs}
    return found


def _named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(CLASS_NAMES, values.tolist(), strict=True))


def _draw(recombiner: Recombiner, output: Path, made: Int64[np.ndarray, "n c"]) -> None:
    """The shares, and a few bases beside what became of them."""
    before = recombiner.bank.pixels
    caption = "Share of the labeled pixels: above of the split, below with its supplement; logarithmic."
    bars = class_bars(*(one.sum(axis=0) / one.sum() for one in (before, np.concatenate([before, made]))))
    write_panel(output, "shares", {"shares": bars}, title="class frequencies", caption=caption)
    for number in evenly_spaced(recombiner.config.pictures, len(made)):
        base, new = recombiner.maps[recombiner.base(number)], recombiner[number]
        tiles = {"label map": TRAIN_IDS[base.labels], "recombined": TRAIN_IDS[new.labels]}
        if base.image is not None and new.image is not None:
            tiles |= {"input": base.image, "pasted": new.image}
        added = ", ".join(CLASS_NAMES[one].replace("_", " ") for one in recombiner.classes[number])
        write_panel(output, f"{number:06d}", tiles, title=recombiner.name(number).split("/")[-1], caption=added)
