"""Writes Toy City as folders: see the package's docstring for what lies where."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainers.data.toy_city.appearance import DOMAINS
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.frame import Frame, check_request, render_frame
from trainers.data.toy_city.traffic import FRAMES_PER_STREET

CITIES = {
    "train": ("ahrental", "birkenau", "dornfeld"),
    "val": ("eschbach", "falkenried"),
    "test": ("grauhafen", "hollenstein"),
    "held_out": ("ilmenthal", "kronweiler"),
}
"""Cities of each split; no city is in two splits."""
PAIR_CITY = "lindenau"
NIGHTS_PER_PAIR_STREET, DAYS_PER_PAIR_STREET = 5, 3
"""Nearly the ratio of Dark Zurich's list: 2416 night images with 1426 of the day."""
POOL = {"night": 0.45, "dark": 0.25, "twilight": 0.20, "day": 0.10}
"""Share of each look in the night pool; the first is exactly that of the domain ``night``."""
DEPTH_UNIT = 0.01
"""Metres for a grey level of a depth PNG; 0 stands for the sky."""
_STREETS_PER_SLOT = 8_000  # a multiple of the eight kinds of streets, so every split begins with the first kind
_MAX_DOMAINS = 16
_SLOTS = (*CITIES, "pairs", "pool")


@dataclass(frozen=True)
class Shot:
    """A frame to render and where it goes, both relative to the root."""

    look: str
    street: int
    frame: int
    image: str
    labels: str
    """What the names of the label files begin with."""
    visit: int = 0


def plan_tree(counts: dict[str, dict[str, int]], *, seed: int = 0, pairs: int = 0, night_pool: int = 0) -> list[Shot]:
    """What ``write_tree`` writes for the same arguments, in its order."""
    shots = [
        _domain_shot(domain, split, number)
        for domain, splits in counts.items()
        for split, count in splits.items()
        for number in range(count)
    ]
    shots += dict.fromkeys(day for _, day in _pairs(pairs))
    return shots + [night for night, _ in _pairs(pairs)] + _pool(seed, night_pool)


def write_tree(
    root: Path,
    *,
    seed: int,
    height: int,
    width: int,
    counts: dict[str, dict[str, int]],
    pairs: int = 0,
    night_pool: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Path]:
    """Write images under ``root`` and yield each image's path when its files are there.

    ``counts[domain][split]`` images of each split, ``pairs`` night images with the day images that they share, and
    ``night_pool`` unlabeled images. Rank ``rank`` of ``world_size`` writes every ``world_size``-th image; rank 0 also
    writes the lists.

    Raises:
        ValueError: at the call, for an unknown domain or split, a number of images that is negative or that Toy City
            does not have, a size that is no multiple of 32, or a rank outside the world.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size}; it must be at least 0 and below the world size")
    _check(counts, pairs, night_pool)
    check_request("day", height, width)
    shots = plan_tree(counts, seed=seed, pairs=pairs, night_pool=night_pool)
    if rank == 0:
        _write_lists(root, _pairs(pairs), [shot for shot in shots if shot.image.startswith("night_pool/")])
    return _write(root, seed, height, width, shots[rank::world_size])


def place_in_city(domain: str, split: str, number: int) -> tuple[int, int]:
    """Street and frame of the ``number``-th image of a split: the same whatever else is written."""
    slot = _SLOTS.index(split) * _MAX_DOMAINS + list(DOMAINS).index(domain)
    return slot * _STREETS_PER_SLOT + number // FRAMES_PER_STREET, number % FRAMES_PER_STREET


def _domain_shot(domain: str, split: str, number: int) -> Shot:
    street, frame = place_in_city(domain, split, number)
    city = CITIES[split][street // FRAMES_PER_STREET % len(CITIES[split])]
    name = f"{split}/{city}/{city}_{street:06d}_{frame:06d}"
    return Shot(domain, street, frame, f"{domain}/leftImg8bit/{name}_leftImg8bit.png", f"{domain}/gtFine/{name}_gtFine")


def _pairs(count: int) -> list[tuple[Shot, Shot]]:
    """(night, day) of the ``count`` first pairs: five drives by night past three places seen by day."""
    first, _ = place_in_city("day", "pairs", 0)
    found = []
    for number in range(count):
        street, drive = first + number // NIGHTS_PER_PAIR_STREET, number % NIGHTS_PER_PAIR_STREET
        place = drive * DAYS_PER_PAIR_STREET // NIGHTS_PER_PAIR_STREET
        shots = []
        for domain, view, visit in (("night", drive, 1 + drive % 2), ("day", place, 0)):
            name = f"pairs/{PAIR_CITY}/{PAIR_CITY}_{street:06d}_{view:06d}"
            image, labels = f"{domain}/leftImg8bit/{name}_leftImg8bit.png", f"{domain}/hidden/gtFine/{name}_gtFine"
            shots.append(Shot(domain, street, place, image, labels, visit))
        found.append((shots[0], shots[1]))
    return found


def _pool(seed: int, count: int) -> list[Shot]:
    """The night pool, look after look; the names are shuffled."""
    dice = Dice(seed, "pool")
    draws = [dice.uniform(0, 1) for _ in range(count)]
    names = [f"{name:06d}" for name in sorted(range(count), key=draws.__getitem__)]
    ends = np.round(np.cumsum(list(POOL.values())) * count).astype(int).tolist()
    looks = [next(look for look, end in zip(POOL, ends, strict=True) if number < end) for number in range(count)]
    return [
        Shot(
            look, *place_in_city("night", "pool", number), f"night_pool/images/{name}.png", f"night_pool/hidden/{name}"
        )
        for number, (look, name) in enumerate(zip(looks, names, strict=True))
    ]


def _write_lists(root: Path, pairs: list[tuple[Shot, Shot]], pool: list[Shot]) -> None:
    if pairs:
        _write_csv(root / "pairs.csv", ["night,day", *(f"{night.image},{day.image}" for night, day in pairs)])
    if pool:
        rows = sorted(f"{Path(shot.image).name},{shot.look},{shot.street},{shot.frame}" for shot in pool)
        _write_csv(root / "night_pool" / "provenance.csv", ["name,look,street,frame", *rows])


def _write_csv(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write(root: Path, seed: int, height: int, width: int, shots: list[Shot]) -> Iterator[Path]:
    for shot in shots:
        frame = render_frame(
            seed=seed, street=shot.street, frame=shot.frame, domain=shot.look, height=height, width=width,
            visit=shot.visit,
        )  # fmt: skip
        for name, picture in _files(shot, frame).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, compress_level=3)
        yield root / shot.image


def _files(shot: Shot, frame: Frame) -> dict[str, np.ndarray]:
    """Pictures by relative path, the image last: once it is there, all are."""
    files = {f"{shot.labels}_labelIds.png": frame.label_ids, f"{shot.labels}_instanceIds.png": frame.instance_ids}
    if frame.clear is not None:
        files[shot.image.replace("leftImg8bit", "clear")] = frame.clear
        depth = np.where(np.isfinite(frame.depth), frame.depth / DEPTH_UNIT, 0)
        files[shot.image.replace("leftImg8bit", "depth")] = np.round(depth).astype(np.uint16)
    return files | {shot.image: frame.image}


def _check(counts: dict[str, dict[str, int]], pairs: int, night_pool: int) -> None:
    limit = _STREETS_PER_SLOT * FRAMES_PER_STREET
    numbers = {"pairs": pairs, "night_pool": night_pool}
    for domain, splits in counts.items():
        if domain not in DOMAINS:
            raise ValueError(f"unknown domain {domain!r}; Toy City has {', '.join(DOMAINS)}")
        if unknown := [split for split in splits if split not in CITIES]:
            raise ValueError(f"unknown split {unknown[0]!r}; Toy City has {', '.join(CITIES)}")
        numbers |= {f"{domain} {split}": count for split, count in splits.items()}
    for name, count in numbers.items():
        if not 0 <= count <= limit:
            raise ValueError(f"{name} is {count} images; it must be from 0 to {limit}")
