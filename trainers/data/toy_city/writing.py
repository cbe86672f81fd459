"""Writes Toy City as a tree in the Cityscapes layout."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from trainers.data.toy_city.appearance import DOMAINS
from trainers.data.toy_city.frame import Frame, check_request, render_frame
from trainers.data.toy_city.traffic import FRAMES_PER_STREET

CITIES = {
    "train": ("ahrental", "birkenau", "dornfeld"),
    "val": ("eschbach", "falkenried"),
    "test": ("grauhafen", "hollenstein"),
    "held_out": ("ilmenthal", "kronweiler"),
}
"""Cities of each split; no city is in two splits."""
_STREETS_PER_DOMAIN = 8_000  # a multiple of the eight kinds of streets, so every split begins with the first kind
_MAX_DOMAINS = 16


def write_tree(
    root: Path,
    *,
    seed: int,
    height: int,
    width: int,
    counts: dict[str, dict[str, int]],
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Path]:
    """Write ``counts[domain][split]`` images under ``root`` and yield each image's path when its files are there.

    Files: ``<domain>/leftImg8bit/<split>/<city>/<city>_<street>_<frame>_leftImg8bit.png`` and beside it
    ``<domain>/gtFine/…_gtFine_labelIds.png`` and ``…_gtFine_instanceIds.png`` (16 bit). Streets differ between splits
    and between domains. Rank ``rank`` of ``world_size`` writes every ``world_size``-th image.

    Raises:
        ValueError: at the call, for an unknown domain or split, a negative count, a size that is no multiple of 32,
            or a rank outside the world.
    """
    _check(counts, height, width, rank, world_size)
    requests = [
        (domain, split, *place_in_city(domain, split, number))
        for domain, splits in counts.items()
        for split, count in splits.items()
        for number in range(count)
    ]
    return _write(root, seed, height, width, requests[rank::world_size])


def _write(root: Path, seed: int, height: int, width: int, requests: list[tuple[str, str, int, int]]) -> Iterator[Path]:
    for domain, split, street, number in requests:
        frame = render_frame(seed=seed, street=street, frame=number, domain=domain, height=height, width=width)
        city = CITIES[split][street // FRAMES_PER_STREET % len(CITIES[split])]
        yield _write_frame(root / domain, split, city, f"{city}_{street:06d}_{number:06d}", frame)


def _write_frame(folder: Path, split: str, city: str, name: str, frame: Frame) -> Path:
    images, annotations = folder / "leftImg8bit" / split / city, folder / "gtFine" / split / city
    for parent in (images, annotations):
        parent.mkdir(parents=True, exist_ok=True)
    instances = Image.fromarray(frame.instance_ids)
    Image.fromarray(frame.label_ids).save(annotations / f"{name}_gtFine_labelIds.png", compress_level=3)
    instances.save(annotations / f"{name}_gtFine_instanceIds.png", compress_level=3)
    path = images / f"{name}_leftImg8bit.png"
    Image.fromarray(frame.image).save(path, compress_level=3)
    return path


def place_in_city(domain: str, split: str, number: int) -> tuple[int, int]:
    """Street and frame of the ``number``-th image of a split: the same whatever else is written."""
    slot = list(CITIES).index(split) * _MAX_DOMAINS + list(DOMAINS).index(domain)
    return slot * _STREETS_PER_DOMAIN + number // FRAMES_PER_STREET, number % FRAMES_PER_STREET


def _check(counts: dict[str, dict[str, int]], height: int, width: int, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size}; it must be at least 0 and below the world size")
    limit = _STREETS_PER_DOMAIN * FRAMES_PER_STREET
    for domain, splits in counts.items():
        check_request(domain, height, width)
        for split, count in splits.items():
            if split not in CITIES:
                raise ValueError(f"unknown split {split!r}; Toy City has {', '.join(CITIES)}")
            if not 0 <= count <= limit:
                raise ValueError(f"{domain} {split} is {count} images; it must be from 0 to {limit}")
