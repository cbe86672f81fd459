"""Recombine label maps as a stage: a supplement in which rare classes are less rare, in the layout of Cityscapes.

Each new map is a base with single-class maps of other images of the split, pasted where they were. A base is never its
own donor; bases are shuffled and none comes twice before all came once.

Source: the label balancing document, method, step 2 (single-class maps, three ways to recombine them). It gives no
    amount, no law and no overlap: they are fields.

Shape legend: n images or maps, c classes.
"""

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image

from trainers.components.class_laws import distance_to, least_filled, wanted_shares
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.donors import DonorBank, SplitMaps, areas_and_boxes
from trainers.data.image_files import decode
from trainers.data.images import count_classes
from trainers.data.instances import check_instances
from trainers.data.label_spaces import CLASS_NAMES, NUM_CLASSES
from trainers.data.made_files import check_room, encoded_bytes, keep_files, save_png, take_back_files
from trainers.data.packed import is_packed
from trainers.data.recombination import TRAIN_IDS, LabelMap
from trainers.data.recombine_config import Config
from trainers.data.recombiner import Recombiner, pasteable, plan
from trainers.data.samples import Sample
from trainers.errors import MethodWarning, UserError
from trainers.pictures import class_bars, evenly_spaced, label_picture, write_panel

ESTIMATED_FROM = 8
"""Maps that are made in memory to estimate what all of them take."""


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


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Write ``gtFine/train/…_{labelIds,instanceIds,color}.png`` and, with ``images``, ``leftImg8bit/train/…``.

    Returns:
        ``maps``; by class name ``shares_before`` (of the split's labeled pixels), ``shares_supplement`` and
        ``shares_after`` (of both together), and ``showing_before`` and ``showing_after``: the share of images with
        enough of the class for a donor; ``pasted``: of the maps that asked for a class the share that show it pasted.
        Under a law, among its classes before and after: the ``distance_to_law``, and how full the ``least_filled``
        class is (its share over the wanted one), which is what the plan raises.

    Raises:
        UserError: no map shows anything that was pasted.
    """
    size = None if config.height is None or config.width is None else (config.height, config.width)
    samples = _open(config, inputs)
    maps = SplitMaps(samples, size=size, images=config.images, cache_bytes=config.cache_bytes)
    bank = _bank(config, maps, context)
    min_pixels = maps.pixels(config.min_share)
    candidates = pasteable(config, bank, min_pixels)
    recombiner = Recombiner(config, maps, bank, candidates, plan(config, maps, bank, candidates, seed), seed)
    if context.rank == 0:
        take_back_files(context.resume(), output)
        for tree in ("gtFine", *(("leftImg8bit",) if config.images else ())):
            (output / tree / "train" / "recombined").mkdir(parents=True, exist_ok=True)
    context.barrier()
    check_disk(recombiner, output)
    context.barrier()  # Nobody writes while another still looks at what is free.
    pasted = _write_all(recombiner, output, context)
    _check_pasted(recombiner, pasted, context)
    made = _count(recombiner, output, context)
    if context.rank == 0:
        _draw(recombiner, output, made)
    asked = _asked(recombiner)
    shares = {CLASS_NAMES[one]: float(pasted[one] / asked[one]) for one in np.flatnonzero(asked).tolist()}
    return {"maps": len(made), **_statistics(recombiner, made), "pasted": shares}


def _bank(config: Config, maps: SplitMaps, context: TrainContext) -> DonorBank:
    """Every map read once, each by one rank."""
    rows = torch.zeros(len(maps.samples), NUM_CLASSES, 5, dtype=torch.int64)
    mine = range(context.rank, len(maps.samples), context.world_size)
    with ThreadPoolExecutor(config.threads) as pool:
        for index, (pixels, boxes) in zip(mine, pool.map(lambda i: areas_and_boxes(maps[i]), mine), strict=True):
            rows[index] = torch.from_numpy(np.concatenate([pixels[:, None], boxes], axis=1))
    whole = context.all_reduce(rows.to(context.device)).cpu().numpy()
    return DonorBank(whole[..., 0], whole[..., 1:])


def _label_path(recombiner: Recombiner, output: Path, number: int) -> Path:
    """The file that is written last: with it a map is whole."""
    return output / "gtFine" / f"{recombiner.name(number)}_gtFine_labelIds.png"


def _files(made: LabelMap, name: str) -> dict[str, np.ndarray | Image.Image]:
    """Name → content of all files of a map whose files' names begin with ``name``."""
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
    sizes = [
        sum(map(encoded_bytes, _files(recombiner[number][0], recombiner.name(number)).values())) for number in looked_at
    ]
    remedies = [f"lower ratio ({recombiner.config.ratio:g})", "set a smaller height and width"]
    remedies[1:1] = ["set images=false"] if recombiner.config.images else []
    what = f"a supplement of {total} maps"
    check_room(output, sizes, len(absent), what=what, remedy=" or ".join((", ".join(remedies[:-1]), remedies[-1])))


def _write_all(recombiner: Recombiner, output: Path, context: TrainContext) -> Int64[np.ndarray, " c"]:
    """This rank's share; every rank reports as often as the others, also with a map less.

    Returns:
        Of every class in how many maps of all ranks it was pasted.
    """
    config, total = recombiner.config, len(recombiner.classes)
    counts = torch.zeros(NUM_CLASSES, dtype=torch.int64)

    def write(number: int) -> tuple[int, ...]:
        made, pasted = recombiner[number]  # Of a map that a killed run wrote no file says what was pasted.
        if not _label_path(recombiner, output, number).exists():
            for name, content in _files(made, recombiner.name(number)).items():
                save_png(content, output / name)
        return pasted

    rounds, mine = -(-total // context.world_size), range(context.rank, total, context.world_size)
    with ThreadPoolExecutor(config.threads) as pool:
        for start in range(0, rounds, config.checkpoint_every_images):
            end = min(rounds, start + config.checkpoint_every_images)
            for pasted in pool.map(write, mine[start:end]):
                counts[list(pasted)] += 1
            if end < rounds:
                context.barrier()  # What the others wrote before is whole.
                context.report({"step": end, "steps": rounds}, lambda folder: keep_files(output, folder))
    context.barrier()
    summed: np.ndarray = context.all_reduce(counts.to(context.device)).cpu().numpy()
    return summed


def _asked(recombiner: Recombiner) -> Int64[np.ndarray, " c"]:
    """How many maps ask for each class."""
    return np.bincount(recombiner.classes.flatten(), minlength=NUM_CLASSES)


def _check_pasted(recombiner: Recombiner, pasted: Int64[np.ndarray, " c"], context: TrainContext) -> None:
    """Tell of a class that was asked for by name and is in no map.

    Raises:
        UserError: none is.
    """
    config = recombiner.config
    remedy = f"lower min_share ({config.min_share:g}) or raise donor_tries ({config.donor_tries})"
    if not pasted.any():
        raise UserError(
            f"nothing was pasted into any of {len(recombiner.classes)} maps of {config.split}: donors are of the base "
            f"itself, or what stands in front hides them; {remedy}, or take a larger split"
        )
    asked = _asked(recombiner)
    nowhere = [name for name in config.classes or () if asked[one := CLASS_NAMES.index(name)] and not pasted[one]]
    if nowhere and context.rank == 0:
        warnings.warn(
            f"{', '.join(nowhere)} of classes was pasted into none of {len(recombiner.classes)} maps; {remedy}",
            MethodWarning,
            stacklevel=2,
        )


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
        for name, measure in (("distance_to_law", distance_to), ("least_filled", least_filled)):
            found[name] = {when: measure(one.sum(axis=0)[classes], wanted) for when, one in pairs}
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
        base, (new, pasted) = recombiner.maps[recombiner.base(number)], recombiner[number]
        tiles = {"label map": TRAIN_IDS[base.labels], "recombined": TRAIN_IDS[new.labels]}
        if base.image is not None and new.image is not None:
            tiles |= {"input": base.image, "pasted": new.image}
        caption = "Pasted: " + (", ".join(CLASS_NAMES[one].replace("_", " ") for one in sorted(pasted)) or "nothing")
        write_panel(output, f"{number:06d}", tiles, title=recombiner.name(number).split("/")[-1], caption=caption)
