"""Fog for Cityscapes from its depth, as a stage: a tree in the layout of Foggy Cityscapes.

Shape legend: h height, w width. Images are float in 0…1 here, depth in m, transmittance in 0…1.

I = J · t + A · (1 - t) with t = exp(-β z) and the airlight A from the dark channel.

Source: Sakaridis et al., Semantic Foggy Scene Understanding with Synthetic Data (model, betas, guided filter); He et
    al., Single Image Haze Removal Using Dark Channel Prior (airlight); the camera files of Cityscapes (depth).
Differs: invalid disparities take the nearest valid depth of the same image, where the authors complete the depth by
    superpixels and plane fits; pixels labeled sky get ``SKY_M``. So the images are not those of the released set.
"""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from PIL import Image

from trainers.context import TrainContext
from trainers.data.datasets import Sample, open_split
from trainers.data.fog_config import Config
from trainers.data.image_files import decode, to_rgb
from trainers.data.packed import is_packed
from trainers.errors import UserError

SKY_M = 1000.0
"""Depth of the sky: behind any fog."""
SKY_LABEL_ID = 23
DARK_CHANNEL_PX = 15
"""Side of the patch of the dark channel."""
AIRLIGHT_SHARE = 0.001
"""Share of the pixels, those of the largest dark channel, that the airlight is taken from."""
GUIDED_RADIUS_PX = 20
GUIDED_EPSILON = 1e-3
"""Window and regularization of the guided filter on images in 0…1, as in the authors' pipeline."""


def depth_from_disparity(
    disparity: UInt16[np.ndarray, "h w"], *, focal_px: float, baseline_m: float
) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """z = f · b / ((stored - 1) / 256) in m where the stored value is over 1, and where that is."""
    valid = disparity > 1  # 0 marks no measurement, 1 a disparity of 0: infinitely far.
    pixels = (disparity.astype(np.float64) - 1) / 256
    return np.where(valid, focal_px * baseline_m / np.where(valid, pixels, 1), SKY_M), valid


def fill_invalid(depth: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """``depth`` with each invalid pixel replaced by the nearest valid one; all invalid is left as it is."""
    from scipy import ndimage

    if not valid.any():
        return depth
    rows, columns = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: np.ndarray = depth[rows, columns]
    return filled


def airlight(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """The brightest of the haziest pixels: the light that fog scatters."""
    from scipy import ndimage

    dark = ndimage.minimum_filter(image.min(axis=2), size=DARK_CHANNEL_PX)
    count = max(1, round(AIRLIGHT_SHARE * dark.size))
    haziest = image.reshape(-1, 3)[np.argpartition(dark.ravel(), -count)[-count:]]
    brightest: np.ndarray = haziest[haziest.sum(axis=1).argmax()]
    return brightest


def guided_filter(
    guide: Float[np.ndarray, "h w"], values: Float[np.ndarray, "h w"], *, radius: int, epsilon: float
) -> Float[np.ndarray, "h w"]:
    """``values`` smoothed so that their edges are those of ``guide`` (gray, 0…1). Source: He et al., Guided Filter."""
    from scipy import ndimage

    def mean(array: np.ndarray) -> np.ndarray:
        averaged: np.ndarray = ndimage.uniform_filter(array, size=2 * radius + 1, mode="nearest")
        return averaged

    guide_mean, values_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * values_mean) / (mean(guide * guide) - guide_mean**2 + epsilon)
    return mean(slope) * guide + mean(values_mean - slope * guide_mean)


def add_fog(
    image: Float[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
    *,
    beta: float,
    light: Float[np.ndarray, "3"],
    radius: int = GUIDED_RADIUS_PX,
) -> Float[np.ndarray, "h w 3"]:
    """Fog of attenuation ``beta`` in 1/m before ``image``; a ``radius`` of 0 leaves the transmittance as it is."""
    transmittance = np.exp(-beta * depth)
    if radius:
        smooth = guided_filter(image.mean(axis=2), transmittance, radius=radius, epsilon=GUIDED_EPSILON)
        transmittance = smooth.clip(0, 1)
    transmittance = transmittance[..., None]
    return image * transmittance + light * (1 - transmittance)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse another data set, absent data, and frames without disparity or camera file."""
    if config.split.dataset != "cityscapes":
        raise UserError(f"fog needs the disparity and camera files of cityscapes, and {config.split} has none")
    if "cityscapes" not in inputs:
        return
    root = inputs["cityscapes"]
    if is_packed(root):
        raise UserError(f"{root} is packed and has no disparity files; name the original folder")
    for sample in open_split(inputs, config.split):
        for path in _geometry(root, sample):
            if not path.is_file():
                raise UserError(f"{path} does not exist; fog needs disparity/ and camera/ of Cityscapes beside gtFine/")


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Fill ``output`` with ``leftImg8bit_foggy/`` and ``gtFine/``; ranks share the frames."""
    root = inputs["cityscapes"]
    samples = open_split(inputs, config.split)
    mine = samples[context.rank :: context.world_size]
    with ThreadPoolExecutor(config.threads) as pool:
        written = pool.map(lambda sample: _write(config, root, sample, output), mine)
        for done, _ in enumerate(written, start=1):
            if context.rank == 0 and (done % 20 == 0 or done == len(mine)):
                context.report({"step": done, "steps": len(mine)})
    context.barrier()
    return {"images": len(samples) * len(config.betas)}


def _geometry(root: Path, sample: Sample) -> tuple[Path, Path]:
    """Disparity and camera file of a frame."""
    split, city = sample.image.parts[-3:-1]
    frame = sample.image.name.removesuffix("_leftImg8bit.png")
    return (
        root / "disparity" / split / city / f"{frame}_disparity.png",
        root / "camera" / split / city / f"{frame}_camera.json",
    )


def read_depth(disparity: Path, camera: Path) -> Float[np.ndarray, "h w"]:
    """Depth of a frame in m, holes filled.

    Raises:
        UserError: a file cannot be read, or is none of Cityscapes.
    """
    image = decode(disparity)
    if not image.mode.startswith("I"):  # Also of 8 bits: they would pass for a scene that is far everywhere.
        raise UserError(f"{disparity} has mode {image.mode}; disparity is a 16-bit gray PNG")
    stored = np.asarray(image)
    try:
        geometry = json.loads(camera.read_text())
        focal_px, baseline_m = float(geometry["intrinsic"]["fx"]), float(geometry["extrinsic"]["baseline"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{camera} has no intrinsic.fx and extrinsic.baseline ({error})") from error
    return fill_invalid(*depth_from_disparity(stored.astype(np.uint16), focal_px=focal_px, baseline_m=baseline_m))


def _write(config: Config, root: Path, sample: Sample, output: Path) -> None:
    split, city = sample.image.parts[-3:-1]
    frame = sample.image.name.removesuffix("_leftImg8bit.png")
    pixels: UInt8[np.ndarray, "h w 3"] = np.asarray(to_rgb(decode(sample.image), sample.image))
    image = pixels / 255.0
    depth = read_depth(*_geometry(root, sample))
    if depth.shape != image.shape[:2]:
        raise UserError(f"{sample.image} is {image.shape[1]}×{image.shape[0]} but its disparity is {depth.shape[::-1]}")
    if sample.label is not None:
        depth = np.where(np.asarray(decode(sample.label)) == SKY_LABEL_ID, SKY_M, depth)
        label = output / "gtFine" / split / city / sample.label.name
        label.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample.label, label)
    light = airlight(image)
    folder = output / "leftImg8bit_foggy" / split / city
    folder.mkdir(parents=True, exist_ok=True)
    for beta in config.betas:
        foggy = add_fog(image, depth, beta=float(beta), light=light)
        rounded = (foggy * 255).round().clip(0, 255).astype(np.uint8)
        Image.fromarray(rounded).save(folder / f"{frame}_leftImg8bit_foggy_beta_{beta}.png", compress_level=1)
