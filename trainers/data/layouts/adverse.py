"""Dark Zurich and ACDC: adverse conditions, with references of the same place in good ones.

Source: brdav/refign, data_modules/datasets (folders); W-zx-Y/DANNet, dataset/lists (the pair list of Dark Zurich).
"""

from pathlib import Path

from trainers.data.label_spaces import CITYSCAPES, TRAIN_IDS
from trainers.data.samples import Dataset, Sample, inside, listed
from trainers.data.walker import Place, files_named
from trainers.errors import UserError

PAIR_LIST = "zurich_dn_pair_train.csv"
DARK_ZURICH_SPLITS = {
    "train_day": ("train/day", 3041),
    "train_twilight": ("train/twilight", 2920),
    "train_night": ("train/night", 2416),
    "val_night": ("val/night", 50),
    "val_day": ("val_ref/day", 50),
    "test_night": ("test/night", 151),
    "test_day": ("test_ref/day", 151),
}
"""Split → (folder, images); ``val_day`` and ``test_day`` are the references."""

CONDITIONS = ("fog", "night", "rain", "snow")
ACDC_IMAGES = {"train": 400, "val": 100, "test": 500}
"""Images of one condition; night has 106 for val."""


def list_dark_zurich(root: Path, split: str) -> list[Sample]:
    """``rgb_anon/<folder>/<sequence>/*_rgb_anon.png``; only ``val_night`` has labels, ``gt/val/night/…``.

    ``pairs`` is the published list: each night image with the nearest day image by GPS as its partner, many nights
    to one day.
    """
    if split == "pairs":
        return _dark_zurich_pairs(root)
    folder, _ = DARK_ZURICH_SPLITS[split]
    images = files_named(root / "rgb_anon" / folder, "_rgb_anon.png", depth=2)
    if split != "val_night":
        return [Sample(image, None) for image in images]
    labels = root / "gt" / folder
    return [
        Sample(image, labels / image.parent.name / image.name.replace("_rgb_anon.png", "_gt_labelIds.png"))
        for image in images
    ]


def _dark_zurich_pairs(root: Path) -> list[Sample]:
    """Lines ``train/night/SEQ/frame,train/day/SEQ/frame``, without the ending of the files."""
    pairs = []
    for line in sorted(listed(root, PAIR_LIST, f"{PAIR_LIST}, the pair list of DANNet")):
        names = line.split(",")
        if len(names) != 2:
            raise UserError(f"{root / PAIR_LIST} holds {line!r}; a line is night,day")
        night, day = (
            inside(root, f"rgb_anon/{name.strip().removeprefix('/').removesuffix('_rgb_anon.png')}_rgb_anon.png")
            for name in names
        )
        pairs.append(Sample(night, None, day))
    return pairs


def list_acdc(root: Path, split: str) -> list[Sample]:
    """``rgb_anon/<condition>/<part>/<sequence>/*_rgb_anon.png``; a part without condition joins all four.

    Each image has its reference in good conditions as partner; ``<part>_ref`` lists the references alone.
    """
    samples = []
    for condition in CONDITIONS:
        if split.startswith(f"{condition}_"):
            return _acdc_part(root, condition, split.removeprefix(f"{condition}_"))
        samples += _acdc_part(root, condition, split)
    return samples


def _acdc_part(root: Path, condition: str, part: str) -> list[Sample]:
    folder = root / "rgb_anon" / condition
    if part.endswith("_ref"):
        return [Sample(image, None) for image in files_named(folder / part, "_rgb_ref_anon.png", depth=2)]
    samples = []
    for image in files_named(folder / part, "_rgb_anon.png", depth=2):
        stem, sequence = image.name.removesuffix("_rgb_anon.png"), image.parent.name
        label = root / "gt" / condition / part / sequence / f"{stem}_gt_labelTrainIds.png"
        partner = folder / f"{part}_ref" / sequence / f"{stem}_rgb_ref_anon.png"
        samples.append(Sample(image, None if part == "test" else label, partner))
    return samples


def dark_zurich_places(root: Path, split: str) -> list[Place]:
    """Of every split but the pairs, which a list names."""
    if split == "pairs":
        return []
    folder, _ = DARK_ZURICH_SPLITS[split]
    images = [Place(root / "rgb_anon" / folder)]
    return images + ([Place(root / "gt" / folder, "labels", "_gt_labelIds.png")] if split == "val_night" else [])


def acdc_places(root: Path, split: str) -> list[Place]:
    """Of one condition, or of all four."""
    condition, _, part = split.partition("_")
    conditions = (condition,) if condition in CONDITIONS else CONDITIONS
    part = part if condition in CONDITIONS else split
    places = [Place(root / "rgb_anon" / name / part) for name in conditions]
    if part in ("train", "val"):
        labels = (root / "gt" / name / part for name in conditions)
        places += [Place(folder, "labels", "_gt_labelTrainIds.png") for folder in labels]
    return places


def _acdc_images(part: str) -> dict[str, int]:
    """Split → images, of every split of ``part``."""
    counts = {one: ACDC_IMAGES[part] + (6 if (one, part) == ("night", "val") else 0) for one in CONDITIONS}
    named = {f"{one}_{part}": count for one, count in counts.items()} | {part: sum(counts.values())}
    return named | {f"{name}_ref": count for name, count in named.items()}


DARK_ZURICH = Dataset(
    splits=(*DARK_ZURICH_SPLITS, "pairs"),
    unlabeled=frozenset({*DARK_ZURICH_SPLITS, "pairs"} - {"val_night"}),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_dark_zurich,
    places=dark_zurich_places,
    layout=f"rgb_anon/<split>/<light>/<sequence>/*_rgb_anon.png, gt/val/night/…/*_gt_labelIds.png and {PAIR_LIST}",
    paired=frozenset({"pairs"}),
    side_files={"pairs": PAIR_LIST},
    images={name: count for name, (_, count) in DARK_ZURICH_SPLITS.items()} | {"pairs": 2416},
)

_ACDC_SPLITS = {name: count for part in ACDC_IMAGES for name, count in _acdc_images(part).items()}

ACDC = Dataset(
    splits=tuple(_ACDC_SPLITS),
    unlabeled=frozenset(name for name in _ACDC_SPLITS if name.endswith(("test", "_ref"))),
    label_map=TRAIN_IDS,
    class_set="cityscapes19",
    list_samples=list_acdc,
    places=acdc_places,
    layout="rgb_anon/<condition>/<split>/<sequence>/*_rgb_anon.png and gt/<condition>/<split>/…/*_gt_labelTrainIds.png",
    paired=frozenset(name for name in _ACDC_SPLITS if not name.endswith("_ref")),
    images=_ACDC_SPLITS,
)
