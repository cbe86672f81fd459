"""A small labeled folder of anyone's, to be damaged."""

from pathlib import Path

import numpy as np
from PIL import Image


def labeled_folder(
    root: Path, *, classes: str = "{0: road, 1: sky, 255: ignore}", splits: tuple[str, ...] = ("train",)
):
    """Three images (64×32) of noise and their labels of two halves, in each of ``splits``."""
    rng = np.random.default_rng(0)
    for split in splits:
        for number in range(3):
            for kind in ("images", "labels"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(256, size=(32, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / split / f"{number}.png")
            label = np.zeros((32, 64), dtype=np.uint8)
            label[:16] = 1
            Image.fromarray(label).save(root / "labels" / split / f"{number}.png")
    (root / "classes.yaml").write_text(classes)
    return root
