"""Cityscapes, Foggy Cityscapes, Nighttime Driving, recombined label maps, and Toy City, the same tree per domain.

Source: mcordts/cityscapesScripts (folders, label ids); W-zx-Y/DANNet, dataset/ (Nighttime Driving).
"""

import csv
from io import StringIO
from pathlib import Path

from trainers.data.label_spaces import CITYSCAPES
from trainers.data.samples import Dataset, Sample, first_folder, inside
from trainers.data.walker import Place, files_named, read_text
from trainers.errors import UserError

IMAGES = {"train": 2975, "val": 500, "test": 1525}
BETAS = ("0.005", "0.01", "0.02")
"""Attenuation of Foggy Cityscapes in 1/m, as its file names write it."""


def list_cityscapes(root: Path, split: str) -> list[Sample]:
    """``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and ``gtFine/…/*_gtFine_labelIds.png``.

    The labels of ``test`` are dummies that must never be scored: the split counts as unlabeled.
    """
    ending = "_leftImg8bit.png"
    return _with_labels(root, split, files_named(_photographs(root) / split, ending, depth=2), ending)


def cityscapes_places(root: Path, split: str) -> list[Place]:
    """Images and, but for ``test``, labels."""
    return [Place(_photographs(root) / split), *_label_places(root, split)]


def _photographs(root: Path) -> Path:
    return first_folder(root, "leftImg8bit", "leftImg8bit_trainvaltest/leftImg8bit")


def _label_places(root: Path, part: str) -> list[Place]:
    labels = first_folder(root, "gtFine", "gtFine_trainvaltest/gtFine") / part
    return [] if part == "test" else [Place(labels, "labels", "_gtFine_labelIds.png")]


def list_foggy_cityscapes(root: Path, split: str) -> list[Sample]:
    """``leftImg8bit_foggy/<split>/<city>/*_leftImg8bit_foggy_beta_<β>.png`` beside the labels of Cityscapes."""
    part, _, beta = split.partition("_beta_")
    ending = f"_leftImg8bit_foggy_beta_{beta}.png"
    return _with_labels(root, part, files_named(_foggy(root) / part, ending, depth=2), ending)


def foggy_places(root: Path, split: str) -> list[Place]:
    """Images of one fog and, but for ``test``, labels."""
    part = split.partition("_beta_")[0]
    return [Place(_foggy(root) / part, others="_foggy_beta_"), *_label_places(root, part)]


def _foggy(root: Path) -> Path:
    return first_folder(root, "leftImg8bit_foggy", "leftImg8bit_trainvaltest_foggy/leftImg8bit_foggy")


def _with_labels(root: Path, part: str, images: list[Path], ending: str) -> list[Sample]:
    labels = first_folder(root, "gtFine", "gtFine_trainvaltest/gtFine") / part
    if part == "test":
        return [Sample(image, None) for image in images]
    return [
        Sample(image, labels / image.parent.name / f"{image.name.removesuffix(ending)}_gtFine_labelIds.png")
        for image in images
    ]


def list_nighttime_driving(root: Path, split: str) -> list[Sample]:
    """``leftImg8bit/test/night/*_leftImg8bit.png`` and the coarse labels beside them, flaws and all."""
    labels = root / "gtCoarse_daytime_trainvaltest" / split / "night"
    images = files_named(root / "leftImg8bit" / split / "night", "_leftImg8bit.png", depth=1)
    return [
        Sample(image, labels / image.name.replace("_leftImg8bit.png", "_gtCoarse_labelIds.png")) for image in images
    ]


def nighttime_places(root: Path, split: str) -> list[Place]:
    """Images and labels."""
    labels = root / "gtCoarse_daytime_trainvaltest" / split / "night"
    return [Place(root / "leftImg8bit" / split / "night"), Place(labels, "labels", "_gtCoarse_labelIds.png")]


def list_recombined(root: Path, split: str) -> list[Sample]:
    """Label maps that a stage made: beside them what was pasted (``pasted``), or only their pictures (``maps``)."""
    if split == "pasted":
        return list_cityscapes(root, "train")
    pictures = files_named(root / "gtFine" / "train", "_gtFine_color.png", depth=2)
    return [
        Sample(picture, picture.with_name(picture.name.replace("_color.png", "_labelIds.png"))) for picture in pictures
    ]


def list_toy_city(root: Path, split: str) -> list[Sample]:
    """Toy City: one Cityscapes tree per domain, the split is ``<domain>_<split>``; pairs and pool have no labels.

    ``pairs_a`` and ``pairs_b`` are the pairs of two sets of streets, with all kinds in each: eight streets by turns.
    ``night_pairs_a`` is the night images of the former with what their labels would be: to score on streets that were
    adapted to, never to train. ``clear_<part>`` is the images of ``fog_<part>`` without their fog.
    """
    if split == "night_pool":
        return [Sample(image, None) for image in files_named(root / "night_pool" / "images", ".png", depth=1)]
    if split in ("pairs", "pairs_a", "pairs_b"):
        return [pair for pair in _toy_pairs(root) if split in ("pairs", f"pairs_{_street_set(pair.image)}")]
    if split == "night_pairs_a":
        nights = [pair.image for pair in _toy_pairs(root) if _street_set(pair.image) == "a"]
        return _with_toy_labels(root / "night" / "hidden", "pairs", nights)
    domain, _, part = split.partition("_")
    if domain == "clear":
        images = files_named(root / "fog" / "clear" / part, "_clear.png", depth=2)
        return _with_toy_labels(root / "fog", part, images)
    images = files_named(root / domain / "leftImg8bit" / part, "_leftImg8bit.png", depth=2)
    if part == "pairs":
        return [Sample(image, None) for image in images]
    return _with_toy_labels(root / domain, part, images)


def toy_city_places(root: Path, split: str) -> list[Place]:
    """Of the splits of one domain; ``pairs.csv`` says what pairs are."""
    domain, _, part = split.partition("_")
    if split == "night_pool":
        return [Place(root / "night_pool" / "images")]
    if domain == "pairs" or part in ("pairs", "pairs_a"):
        return []
    if domain == "clear":
        return [Place(root / "fog" / "clear" / part)]
    labels = root / domain / "gtFine" / part
    return [Place(root / domain / "leftImg8bit" / part), Place(labels, "labels", "_gtFine_labelIds.png")]


def _street_set(image: Path) -> str:
    """a or b, by the street in the name ``<city>_<street>_<view>_leftImg8bit.png``."""
    street = int(image.name.split("_")[1])
    return "ab"[street // 8 % 2]


def _with_toy_labels(root: Path, part: str, images: list[Path]) -> list[Sample]:
    """Unlike the benchmark's, the labels of ``test`` are true."""
    labels = root / "gtFine" / part
    return [
        Sample(image, labels / image.parent.name / f"{image.stem.rpartition('_')[0]}_gtFine_labelIds.png")
        for image in images
    ]


def _toy_pairs(root: Path) -> list[Sample]:
    """The rows of ``pairs.csv``: a night image, and the day image of its place as partner."""
    listing = root / "pairs.csv"
    if not listing.is_file():
        return []
    rows = list(csv.DictReader(StringIO(read_text(listing), newline="")))
    if rows and not {"night", "day"} <= rows[0].keys():
        raise UserError(f"{listing} needs the columns night and day, it has {', '.join(rows[0])}")
    return [Sample(inside(root, row["night"]), None, inside(root, row["day"])) for row in rows]


CITYSCAPES_DATASET = Dataset(
    splits=("train", "val", "test"),
    unlabeled=frozenset({"test"}),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_cityscapes,
    places=cityscapes_places,
    layout="leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_labelIds.png",
    images=IMAGES,
)

FOGGY_CITYSCAPES = Dataset(
    splits=tuple(f"{part}_beta_{beta}" for part in IMAGES for beta in BETAS),
    unlabeled=frozenset(f"test_beta_{beta}" for beta in BETAS),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_foggy_cityscapes,
    places=foggy_places,
    layout="leftImg8bit_foggy/<split>/<city>/*_leftImg8bit_foggy_beta_<β>.png and the gtFine/ of Cityscapes",
    images={f"{part}_beta_{beta}": count for part, count in IMAGES.items() for beta in BETAS},
)

NIGHTTIME_DRIVING = Dataset(
    splits=("test",),
    unlabeled=frozenset(),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_nighttime_driving,
    places=nighttime_places,
    layout="leftImg8bit/test/night/*_leftImg8bit.png and "
    "gtCoarse_daytime_trainvaltest/test/night/*_gtCoarse_labelIds.png",
    images={"test": 50},
)

RECOMBINED = Dataset(
    splits=("maps", "pasted"),
    unlabeled=frozenset(),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_recombined,
    layout="gtFine/train/…_{labelIds,instanceIds,color}.png, as the stage `recombine` leaves them, and for `pasted` "
    "leftImg8bit/train/… (its images=true)",
    without_photographs=frozenset({"maps"}),
)

TOY_CITY = Dataset(
    splits=(
        *(
            f"{domain}_{part}"
            for domain in ("day", "night", "fog", "game", "clear")
            for part in ("train", "val", "test", "held_out")
        ),
        "night_pairs",
        "day_pairs",
        "night_pairs_a",
        "pairs",
        "pairs_a",
        "pairs_b",
        "night_pool",
    ),
    unlabeled=frozenset({"night_pairs", "day_pairs", "pairs", "pairs_a", "pairs_b", "night_pool"}),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_toy_city,
    places=toy_city_places,
    layout="<domain>/leftImg8bit/… and <domain>/gtFine/… as `nightshift data make toy_city` writes them",
    paired=frozenset({"pairs", "pairs_a", "pairs_b"}),
    side_files=dict.fromkeys(("pairs", "pairs_a", "pairs_b", "night_pairs_a"), "pairs.csv"),
)
