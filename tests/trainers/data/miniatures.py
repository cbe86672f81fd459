"""Miniature trees of every data set, with the names of the released files and the other files that lie beside them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from trainers.data.datasets import DataSplit
from trainers.data.label_files import write_index, write_label
from trainers.data.label_spaces import CITYSCAPES_LABEL_IDS, COLORS, IGNORE_LABEL

SIZE = (8, 6)  # width, height
TOY_COUNTS = {"day": {"train": 5, "val": 3}, "night": {"train": 2}, "fog": {"held_out": 2}, "game": {"train": 1}}
TOY_TREE = {"seed": 0, "height": 32, "width": 64, "counts": TOY_COUNTS, "pairs": 7, "night_pool": 20}
"""What ``write_tree`` is asked for in the tests of its tree and of its pool."""
TOY_IMAGES = 13 + 7 + 4 + 20


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_image(path: Path, value: int = 100) -> None:
    save(path, np.full((*SIZE[::-1], 3), value, dtype=np.uint8))


def save_label(path: Path, label_id: int) -> None:
    save(path, np.full(SIZE[::-1], label_id, dtype=np.uint8))


def save_pair(image: Path, label: Path | None, label_id: int) -> None:
    save_image(image)
    if label is not None:
        save_label(label, label_id)


FRAMES = (("aachen", "000000_000019"), ("aachen", "000001_000019"), ("bochum", "000000_000313"))


def cityscapes(root: Path, part: str = "train") -> Path:
    """Two cities, three frames, and the other files that the benchmark's folders hold."""
    for city, frame in FRAMES:
        annotation = root / "gtFine" / part / city / f"{city}_{frame}_gtFine"
        image = root / "leftImg8bit" / part / city / f"{city}_{frame}_leftImg8bit.png"
        save_pair(image, Path(f"{annotation}_labelIds.png"), 7)
        save(Path(f"{annotation}_labelTrainIds.png"), np.zeros(SIZE[::-1], dtype=np.uint8))
        Path(f"{annotation}_polygons.json").write_text("{}")
    return root


def cityscapes_with_depth(root: Path) -> Path:
    """The same with disparity and camera files: a depth of 10 m but for a hole."""
    cityscapes(root)
    for city, frame in FRAMES:
        stored = np.full(SIZE[::-1], 1 + 256 * 20, dtype=np.uint16)
        stored[2, 3] = 0
        save(root / "disparity" / "train" / city / f"{city}_{frame}_disparity.png", stored)
        camera = root / "camera" / "train" / city / f"{city}_{frame}_camera.json"
        camera.parent.mkdir(parents=True, exist_ok=True)
        camera.write_text(json.dumps({"extrinsic": {"baseline": 0.1}, "intrinsic": {"fx": 2000.0}}))
    return root


def foggy_cityscapes(root: Path) -> Path:
    cityscapes(root)
    for city, frame in FRAMES:
        for number, beta in enumerate(("0.005", "0.01", "0.02")):
            name = f"{city}_{frame}_leftImg8bit_foggy_beta_{beta}.png"
            save_image(root / "leftImg8bit_foggy" / "train" / city / name, 50 * number)
    return root


def palette(path: Path, label: np.ndarray) -> None:
    """A PNG as GTA5 has them: the index is the label id, the palette its color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label.astype(np.uint8), mode="P")
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]] = COLORS
    image.putpalette(colors.ravel().tolist())
    image.save(path)


def gta5(root: Path) -> Path:
    """Frames 1 to 3, and 2154, whose label has another size."""
    for number in (1, 2, 3, 2154):
        save_image(root / "images" / f"{number:05d}.png")
        palette(root / "labels" / f"{number:05d}.png", np.full(SIZE[::-1], 7))
    palette(root / "labels" / "02154.png", np.full((3, 4), 7))
    return root


def dark_zurich(root: Path) -> Path:
    for number in (1, 2, 3):
        frame = f"GOPR0356/GOPR0356_frame_{number:06d}"
        save_image(root / f"rgb_anon/val/night/{frame}_rgb_anon.png")
        save_image(root / f"rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_{number:06d}_ref_rgb_anon.png")
        for kind, label_id in (("labelIds", 7), ("labelTrainIds", 0)):
            save_label(root / f"gt/val/night/{frame}_gt_{kind}.png", label_id)
        save_image(root / f"rgb_anon/train/night/GOPR0351/GOPR0351_frame_{number:06d}_rgb_anon.png", 20)
        save_image(root / f"rgb_anon/train/twilight/GOPR0347/GOPR0347_frame_{number:06d}_rgb_anon.png", 60)
    for number in (158, 159):
        save_image(root / f"rgb_anon/train/day/GOPR0345/GOPR0345_frame_{number:06d}_rgb_anon.png", 200)
    pairs = [("000001", "000158"), ("000002", "000159"), ("000003", "000159")]
    lines = [f"train/night/GOPR0351/GOPR0351_frame_{n},train/day/GOPR0345/GOPR0345_frame_{d}" for n, d in pairs]
    (root / "zurich_dn_pair_train.csv").write_text("\n".join(lines) + "\n")
    return root


def pairs_of_blocks(root: Path) -> Path:
    """Five nights and three days of 32×64 in the layout of Dark Zurich: blocks of random classes in noisy colors."""
    rng = np.random.default_rng(1)
    for light, sequence, count in (("night", "GOPR0351", 5), ("day", "GOPR0345", 3)):
        for number in range(1, count + 1):
            train_ids = rng.integers(19, size=(4, 8)).repeat(8, axis=0).repeat(8, axis=1)
            pixels = np.array(COLORS)[train_ids] * (3 if light == "day" else 1) // 4 + rng.integers(
                60, size=(32, 64, 3)
            )
            name = f"{sequence}/{sequence}_frame_{number:06d}_rgb_anon.png"
            save(root / "rgb_anon" / "train" / light / name, pixels.astype(np.uint8))
    lines = [
        f"train/night/GOPR0351/GOPR0351_frame_{n:06d},train/day/GOPR0345/GOPR0345_frame_{d:06d}"
        for n, d in ((1, 1), (2, 1), (3, 2), (4, 3), (5, 3))
    ]
    (root / "zurich_dn_pair_train.csv").write_text("\n".join(lines) + "\n")
    return root


def labels_of_blocks(folder: Path, split: str, *, images: int) -> Path:
    """Pseudo-labels of 32×64 as a stage leaves them, of random classes, an eighth of the blocks ignored."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        train_ids = np.where(rng.random((4, 8)) < 0.125, IGNORE_LABEL, rng.integers(19, size=(4, 8)))
        write_label(folder, index, train_ids.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8))
    parsed = DataSplit.model_validate(split)
    write_index(folder, parsed, images=images, height=32, width=64, class_set="cityscapes19")
    return folder


def blocks_in_haze(root: Path) -> Path:
    """Seven frames of 32×64 in the folders of the dehazing code: blocks of random classes, half of each hidden."""
    rng = np.random.default_rng(2)
    for number in range(7):
        train_ids = rng.integers(19, size=(4, 8)).repeat(8, axis=0).repeat(8, axis=1)
        clear = np.array(COLORS)[train_ids] * 3 // 4 + rng.integers(60, size=(32, 64, 3))
        share = np.linspace(0.2, 0.8, 32)[:, None, None]
        frame = f"aachen_{number:06d}_000019"
        save(
            root / "a" / f"{frame}_leftImg8bit_foggy_beta_0.02.png",
            (clear * share + 230 * (1 - share)).astype(np.uint8),
        )
        save(root / "b" / f"{frame}_leftImg8bit.png", clear.astype(np.uint8))
        save(root / "c" / f"{frame}_gtFine_labelIds.png", np.array(CITYSCAPES_LABEL_IDS)[train_ids].astype(np.uint8))
    return root


def nighttime_driving(root: Path) -> Path:
    for number in (1, 2, 3):
        stem = f"0_frame_{number:04d}"
        labels = root / "gtCoarse_daytime_trainvaltest/test/night"
        save_pair(root / f"leftImg8bit/test/night/{stem}_leftImg8bit.png", labels / f"{stem}_gtCoarse_labelIds.png", 7)
        save_label(labels / f"{stem}_gtCoarse_labelTrainIds.png", 0)
    return root


def acdc(root: Path) -> Path:
    for condition, sequence in (("fog", "GOPR0475"), ("night", "GOPR0351")):
        for number in (1, 2):
            name = f"{sequence}/{sequence}_frame_{number:06d}"
            save_image(root / f"rgb_anon/{condition}/train/{name}_rgb_anon.png", 40)
            save_image(root / f"rgb_anon/{condition}/train_ref/{name}_rgb_ref_anon.png", 160)
            save_label(root / f"gt/{condition}/train/{name}_gt_labelTrainIds.png", 0)
            save_label(root / f"gt/{condition}/train/{name}_gt_labelIds.png", 7)
            save_image(root / f"rgb_anon/{condition}/test/{name}_rgb_anon.png", 40)
            save_image(root / f"rgb_anon/{condition}/test_ref/{name}_rgb_ref_anon.png", 160)
    return root


def toy_tree(root: Path) -> Path:
    for domain in ("day", "night"):
        cityscapes(root / domain, "val")
        cityscapes(root / domain, "pairs")
    rows = [f"{d}/leftImg8bit/pairs/{city}/{city}_{frame}_leftImg8bit.png" for city, frame in FRAMES
            for d in ("night", "day")]  # fmt: skip
    (root / "pairs.csv").write_text(
        "night,day\n" + "".join(f"{a},{b}\n" for a, b in zip(rows[::2], rows[1::2], strict=True))
    )
    return root


def camvid(root: Path) -> Path:
    for name, label_id in (("0001TP_006690", 3), ("Seq05VD_f00000", 11)):
        save_pair(root / "images" / f"{name}.jpg", root / "labels" / f"{name}.png", label_id)
    save_pair(root / "images" / "dusk_1.jpg", None, 0)
    (root / "day_train.txt").write_text("0001TP_006690\nSeq05VD_f00000\n")
    (root / "dusk_adapt.txt").write_text("dusk_1\n")
    (root / "day_val.txt").write_text("")
    return root


def camvid_of_segnet(root: Path) -> Path:
    for name in ("0001TP_006690", "0001TP_006720"):
        save_pair(root / "train" / f"{name}.png", root / "trainannot" / f"{name}.png", 3)
    return root


def nexet(root: Path) -> Path:
    rows = ["image_filename,lighting,city"]
    for number, light in enumerate(("Day", "Night", "Night", "Twilight")):
        save_image(root / "nexet_2017_1" / f"frame_{number}.jpg")
        rows.append(f"frame_{number}.jpg,{light},SF")
    (root / "train.csv").write_text("\n".join(rows))
    return root


def bdd100k(root: Path) -> Path:
    for stem in ("0000f77c-6257be58", "0004a4c0-d4dff0ad"):
        save_image(root / f"images/100k/train/{stem}.jpg")
        save_pair(root / f"images/10k/train/{stem}.jpg", root / f"labels/sem_seg/masks/train/{stem}.png", 0)
    return root


def images(root: Path) -> Path:
    save_image(root / "b.png")
    save_image(root / "a" / "deep" / "c.JPG")
    (root / "notes.txt").write_text("no image")
    return root


def dehazing(root: Path) -> Path:
    for city, frame in FRAMES:
        save_image(root / "a" / f"{city}_{frame}_leftImg8bit_foggy_beta_0.02.png", 200)
        save_image(root / "b" / f"{city}_{frame}_leftImg8bit.png", 50)
        save_label(root / "c" / f"{city}_{frame}_gtFine_labelIds.png", 7)
    return root


def labeled_folder(root: Path) -> Path:
    for name in ("one", "sub/two"):
        save_pair(root / "images" / "train" / f"{name}.jpg", root / "labels" / "train" / f"{name}.png", 1)
    (root / "classes.yaml").write_text("{0: road, 1: car, 7: person, 255: ignore}\n")
    return root


@dataclass(frozen=True)
class Tree:
    """How to write a data set, and what must be found in it."""

    make: Callable[[Path], Path]
    labeled: str = ""
    """A split with labels, and how many images it has."""
    count: int = 0
    unlabeled: dict[str, int] = field(default_factory=dict)
    """Splits without labels, with their number of images."""


TREES = {
    "cityscapes": Tree(cityscapes, "train", 3),
    "foggy_cityscapes": Tree(foggy_cityscapes, "train_beta_0.02", 3),
    "gta5": Tree(gta5, "train", 3),
    "dark_zurich": Tree(
        dark_zurich,
        "val_night",
        3,
        {"train_night": 3, "train_twilight": 3, "train_day": 2, "val_day": 3, "pairs": 3},
    ),
    "nighttime_driving": Tree(nighttime_driving, "test", 3),
    "acdc": Tree(acdc, "night_train", 2, {"test": 4, "fog_test": 2, "train_ref": 4}),
    "camvid": Tree(camvid, "day_train", 2, {"dusk_adapt": 1}),
    "toy_city": Tree(toy_tree, "night_val", 3, {"pairs": 3, "night_pairs": 3}),
    "nexet": Tree(nexet, unlabeled={"all": 4, "day": 1, "night": 2, "twilight": 1}),
    "bdd100k": Tree(bdd100k, "seg_train", 2, {"train": 2}),
    "images": Tree(images, unlabeled={"all": 2}),
    "dehazing": Tree(dehazing, "hazy", 3),
    "labeled_folder": Tree(labeled_folder, "train", 2),
    "recombined": Tree(cityscapes, "pasted", 3),
    # Folders that only another data set's folder completes: test_references.py.
    "translated": Tree(images),
    "light_pool": Tree(images),
    "selected": Tree(images),
    "agreed": Tree(images),
}
