"""Predictions as files: plain folders, and what the servers of three benchmarks want.

Cityscapes: label ids, one 8-bit PNG per image whose name begins with ``<city>_<sequence>_<frame>``, zipped.
    Source: mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py (ids, names, one match per image).
ACDC: train ids at the image's size below a folder ``labelTrainIds``; names begin with ``<sequence>_frame_<number>``.
    Source: the instructions at acdc.vision.ee.ethz.ch/submit as hf618/DTBS and lhoyer/DAFormer follow them.
Dark Zurich: three folders with one PNG per image: ``labelTrainIds``; ``labelTrainIds_invalid``, the same with 255 where
    the method calls the image invalid (none here, so UIoU equals IoU); ``confidence``, 16 bits, 65535 for certainty.
    Source: W-zx-Y/DANNet issues 4, 11 and 17; Attila94/CIConv, 3_segmentation/predict_dz.py.
"""

import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainers.data.label_spaces import CITYSCAPES_LABEL_IDS, COLORS
from trainers.data.walker import walk
from trainers.errors import UserError

if TYPE_CHECKING:
    from trainers.segmentation.predict import Prediction

FormatName = Literal["folder", "cityscapes", "dark_zurich", "acdc"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}

ZURICH_FRAME = re.compile(r"((?:GOPR|GP)\w*_frame_\d{6})(?=_|\.).*")
CITYSCAPES_FRAME = re.compile(r"([a-z-]+_\d{6}_\d{6})(?=_|\.).*", re.IGNORECASE)


@dataclass(frozen=True)
class Format:
    """How a server wants its files."""

    write: Callable[["Prediction", Path, Path], None]
    """(prediction, its name without suffix below the data folder, output folder)."""
    frame: re.Pattern[str] | None = None
    """What an image's name must be; its group names the prediction. ``None`` takes any."""
    images: int | None = None
    """Size of the test split."""
    example: str = ""

    @property
    def is_packed(self) -> bool:
        """Whether the server wants one zip."""
        return self.frame is not None


def list_images(data: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Images below ``data`` by their suffix, the other files, and hidden files and folders; each sorted.

    Links are followed; a broken one is an image that cannot be read.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not data.is_dir():
        raise UserError(f"--data {data} is not a folder; give the folder that holds the images")
    walked = walk(data)
    images = [path for path in walked.files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise UserError(f"--data {data} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    others = [path for path in walked.files if path.suffix.lower() not in IMAGE_SUFFIXES]
    return images, sorted(others + walked.loops + walked.devices), walked.hidden


def names_of(images: Sequence[Path], data: Path, name: FormatName) -> list[Path]:
    """The name of each image's prediction, without suffix.

    Raises:
        UserError: a name is not of the benchmark, or two images would share one.
    """
    frame = FORMATS[name].frame
    names = []
    for path in images:
        if frame is None:
            names.append(path.relative_to(data).with_suffix(""))
            continue
        match = frame.fullmatch(path.name)
        if match is None:
            raise UserError(
                f"{path} is not named as {name} names its images ({FORMATS[name].example}); "
                "give the folder of the test images alone, or --format folder"
            )
        names.append(Path(match[1]))
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        clash = [str(path) for path, one in zip(images, names, strict=True) if one == twice[0]]
        raise UserError(f"{' and '.join(clash[:2])} would both become {twice[0]}.png; rename one or move it away")
    return names


def pack(folder: Path, archive: Path) -> int:
    """Zip the PNGs of ``folder``, their folders first in their names; how many there are.

    The pictures in ``color/`` are for people: a server that looks for ``<frame>*.png`` would find two.
    """
    files = sorted(path for path in folder.rglob("*.png") if path.relative_to(folder).parts[0] != "color")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # PNGs do not get smaller.
        for path in files:
            packed.write(path, path.relative_to(folder))
    return len(files)


def require_new(output: Path, data: Path) -> Path:
    """The folder to write aside.

    Raises:
        UserError: the output exists, or lies inside the images' folder.
    """
    if output.exists():
        raise UserError(f"--output {output} exists already; name a new folder")
    if output.resolve().is_relative_to(data.resolve()):
        raise UserError(f"--output {output} lies inside --data {data}, where the next run would take it for images")
    aside = output.with_name(f".{output.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)  # Of an interrupted run: it holds nothing that cannot be made again.
    return aside


def _write_folder(prediction: "Prediction", name: Path, output: Path) -> None:
    _save(output / "labelIds" / f"{name}.png", _label_ids(prediction))
    _save_color(output / "color" / f"{name}.png", prediction)


def _write_cityscapes(prediction: "Prediction", name: Path, output: Path) -> None:
    _save(output / "labelIds" / f"{name}_labelIds.png", _label_ids(prediction))
    _save_color(output / "color" / f"{name}.png", prediction)


def _write_acdc(prediction: "Prediction", name: Path, output: Path) -> None:
    _save(output / "labelTrainIds" / f"{name}_labelTrainIds.png", prediction.train_ids)
    _save_color(output / "color" / f"{name}.png", prediction)


def _write_dark_zurich(prediction: "Prediction", name: Path, output: Path) -> None:
    for folder in ("labelTrainIds", "labelTrainIds_invalid"):
        _save(output / folder / f"{name}.png", prediction.train_ids)
    _save(output / "confidence" / f"{name}.png", np.rint(prediction.confidence * 65535).astype(np.uint16))
    _save_color(output / "color" / f"{name}.png", prediction)


def _label_ids(prediction: "Prediction") -> np.ndarray:
    return np.array(CITYSCAPES_LABEL_IDS, dtype=np.uint8)[prediction.train_ids]


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")


def _save_color(path: Path, prediction: "Prediction") -> None:
    _save(path, np.array(COLORS, dtype=np.uint8)[prediction.train_ids])


FORMATS: dict[FormatName, Format] = {
    "folder": Format(_write_folder),
    "cityscapes": Format(
        _write_cityscapes, CITYSCAPES_FRAME, images=1525, example="berlin_000000_000019_leftImg8bit.png"
    ),
    "dark_zurich": Format(_write_dark_zurich, ZURICH_FRAME, images=151, example="GOPR0364_frame_000001_rgb_anon.png"),
    "acdc": Format(_write_acdc, ZURICH_FRAME, images=2000, example="GOPR0475_frame_000247_rgb_anon.png"),
}
"""Every value of ``--format``."""


def describe(paths: Iterable[Path], most: int = 3) -> str:
    """The first few paths, and how many more there are."""
    shown = [str(path) for path in paths]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
