"""Fog from depth: the physics in closed form, the filters against slow loops, the tree, the real frames."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data import miniatures
from trainers.context import PlainContext
from trainers.data import fog
from trainers.data.datasets import DataSplit, open_split
from trainers.data.fog_config import Config
from trainers.errors import UserError
from trainers.measures import image_quality
from trainers.measures.image_quality_config import Config as QualityConfig

RNG = np.random.default_rng(0)


def test_depth_is_focal_length_times_baseline_over_disparity():
    stored = np.array([[0, 1, 257, 1 + 256 * 50]], dtype=np.uint16)
    depth, valid = fog.depth_from_disparity(stored, focal_px=2262.52, baseline_m=0.209313)
    assert valid.tolist() == [[False, False, True, True]]
    assert depth[0, 2:].tolist() == pytest.approx([2262.52 * 0.209313, 2262.52 * 0.209313 / 50])


def test_holes_take_the_nearest_depth():
    depth = np.array([[1.0, 9.0, 9.0, 2.0, 9.0]])
    filled = fog.fill_invalid(depth, np.array([[True, False, False, True, False]]))
    assert filled.tolist() == [[1.0, 1.0, 2.0, 2.0, 2.0]]
    assert np.array_equal(fog.fill_invalid(depth, np.zeros((1, 5), dtype=bool)), depth)


def test_airlight_is_the_brightest_of_the_haziest():
    image = RNG.uniform(0, 0.5, (64, 64, 3))
    image[:20, :20] = (0.7, 0.8, 0.9)
    image[3, 3] = (0.75, 0.85, 0.95)
    image[40, 40] = (1.0, 1.0, 1.0)  # A lamp: bright, but its surroundings are dark.
    assert fog.airlight(image).tolist() == [0.75, 0.85, 0.95] or fog.airlight(image).tolist() == [0.7, 0.8, 0.9]
    assert fog.airlight(np.full((20, 20, 3), 0.4)).tolist() == [0.4, 0.4, 0.4]


def test_without_a_filter_fog_is_koschmieders_law():
    image, depth = RNG.uniform(0, 1, (4, 5, 3)), RNG.uniform(1, 300, (4, 5))
    light = np.array([0.8, 0.85, 0.9])
    for beta in (0.005, 0.01, 0.02):
        foggy = fog.add_fog(image, depth, beta=beta, light=light, radius=0)
        for y, x, channel in np.ndindex(4, 5, 3):
            t = math.exp(-beta * depth[y, x])
            assert foggy[y, x, channel] == pytest.approx(image[y, x, channel] * t + light[channel] * (1 - t))
    near, far = (fog.add_fog(image, np.full((4, 5), z), beta=0.01, light=light, radius=0) for z in (0.0, 1e6))
    assert np.allclose(near, image)
    assert np.allclose(far, light)


def test_the_guided_filter_is_that_of_its_formulas():
    """Each window's line a·I + b by least squares with a ridge; then the mean of the lines over a pixel's windows."""
    guide, values, radius, epsilon = RNG.uniform(0, 1, (7, 8)), RNG.uniform(0, 1, (7, 8)), 1, 1e-2
    padded = [np.pad(one, radius, mode="edge") for one in (guide, values)]

    def window(array: np.ndarray, y: int, x: int) -> np.ndarray:
        return array[y : y + 3, x : x + 3].ravel()

    lines = np.zeros((2, 7, 8))
    for y, x in np.ndindex(7, 8):
        i, p = (window(one, y, x) for one in padded)
        slope = np.mean((i - i.mean()) * (p - p.mean())) / (np.var(i) + epsilon)
        lines[:, y, x] = slope, p.mean() - slope * i.mean()
    slopes, offsets = (np.pad(one, radius, mode="edge") for one in lines)
    expected = np.array(
        [[window(slopes, y, x).mean() * guide[y, x] + window(offsets, y, x).mean() for x in range(8)] for y in range(7)]
    )
    assert np.allclose(fog.guided_filter(guide, values, radius=radius, epsilon=epsilon), expected)


def run(root: Path, output: Path, **fields: object) -> Path:
    config = Config.model_validate({"split": "cityscapes/train", **fields})
    fog.check(config, {"cityscapes": root})
    output.mkdir()
    made = fog.run(config, {"cityscapes": root}, output, None, PlainContext(output / "unused"))
    assert made["images"] == len(config.betas) * 3
    return output


def test_the_tree_is_that_of_foggy_cityscapes(tmp_path: Path):
    root = miniatures.cityscapes_with_depth(tmp_path / "cityscapes")
    output = run(root, tmp_path / "foggy")
    for beta in ("0.005", "0.01", "0.02"):
        which = DataSplit.model_validate(f"foggy_cityscapes/train_beta_{beta}")
        samples = open_split({"foggy_cityscapes": output}, which)
        assert len(samples) == 3
        # An even image has itself as airlight: fog leaves it as it is, whatever the depth.
        assert {np.asarray(Image.open(sample.image)).mean() for sample in samples} == {100}


def test_an_image_of_16_bit_gray_keeps_its_highlights(tmp_path: Path):
    """Read by its high byte; Pillow alone would clip all of it to white."""
    root = miniatures.cityscapes_with_depth(tmp_path / "cityscapes")
    for path in (root / "leftImg8bit").rglob("*.png"):
        miniatures.save(path, np.full(miniatures.SIZE[::-1], 100 * 256 + 7, dtype=np.uint16))
    made = run(root, tmp_path / "foggy")
    for path in (made / "leftImg8bit_foggy").rglob("*.png"):
        assert np.asarray(Image.open(path)).mean() == 100


def broken(root: Path, kind: str) -> None:
    disparity = next(root.rglob("*_disparity.png"))
    camera = next(root.rglob("*_camera.json"))
    changes = {
        "absent": lambda: disparity.unlink(),
        "colors": lambda: miniatures.save_image(disparity),
        "8 bits": lambda: miniatures.save(disparity, np.full(miniatures.SIZE[::-1], 100, dtype=np.uint8)),
        "size": lambda: miniatures.save(disparity, np.zeros((3, 4), dtype=np.uint16)),
        "camera": lambda: camera.write_text(json.dumps({"intrinsic": {}})),
        "no json": lambda: camera.write_text("{"),
    }
    changes[kind]()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("absent", r"_disparity\.png does not exist; fog needs disparity/ and camera/"),
        ("colors", "has mode RGB; disparity is a 16-bit gray PNG"),
        ("8 bits", "has mode L; disparity is a 16-bit gray PNG"),
        ("size", r"is 8×6 but its disparity is \(4, 3\)"),
        ("camera", r"has no intrinsic\.fx and extrinsic\.baseline \('fx'\)"),
        ("no json", r"has no intrinsic\.fx"),
    ],
)
def test_what_is_wrong_with_the_geometry_is_named(kind: str, says: str, tmp_path: Path):
    root = miniatures.cityscapes_with_depth(tmp_path / "cityscapes")
    broken(root, kind)
    with pytest.raises(UserError, match=says):
        run(root, tmp_path / "foggy")


def test_fog_is_for_cityscapes():
    with pytest.raises(UserError, match="fog needs the disparity and camera files of cityscapes"):
        fog.check(Config(split="camvid/day_val"), {})


@pytest.mark.photographs
def test_fog_on_a_real_frame_hides_what_is_far(photographs: Path):
    root = photographs / "cityscapes_sample"
    frame = "aachen_000001_000019"
    depth = fog.read_depth(
        root / f"disparity/train/aachen/{frame}_disparity.png", root / f"camera/train/aachen/{frame}_camera.json"
    )[::4, ::4]
    image = np.asarray(Image.open(root / f"leftImg8bit/train/aachen/{frame}_leftImg8bit.png"))[::4, ::4] / 255.0
    label = np.asarray(Image.open(root / f"gtFine/train/aachen/{frame}_gtFine_labelIds.png"))[::4, ::4]
    road = np.median(depth[150:200][label[150:200] == 7])
    assert 3 < road < 30  # The road before the hood, in meters.
    light = fog.airlight(image)
    far, near = (depth > 60) & (label != 23), depth < 15
    contrast = {}
    for beta in (0.005, 0.01, 0.02):
        foggy = fog.add_fog(image, depth, beta=beta, light=light)
        contrast[beta] = foggy[far].std() / image[far].std()
        assert contrast[beta] < foggy[near].std() / image[near].std()
        assert foggy.min() > -0.01
        assert foggy.max() < 1.01
    assert contrast[0.005] > contrast[0.01] > contrast[0.02]


@pytest.mark.photographs
def test_denser_fog_on_the_real_frames_is_farther_from_the_clear_ones(photographs: Path, tmp_path: Path):
    """The four frames with depth, at a quarter of their size, through the stages: fog, then PSNR and SSIM to them."""
    root = tmp_path / "cityscapes"
    source = photographs / "cityscapes_sample"
    for disparity in sorted((source / "disparity").rglob("*.png")):
        frame = disparity.name.removesuffix("_disparity.png")
        place = Path("train") / frame.partition("_")[0]
        for kind, ending in (("disparity", "disparity"), ("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            path = place / f"{frame}_{ending}.png"
            quarter = np.asarray(Image.open(source / kind / path))[::4, ::4]
            miniatures.save(root / kind / path, np.ascontiguousarray(quarter))
        camera = place / f"{frame}_camera.json"
        (root / "camera" / place).mkdir(parents=True, exist_ok=True)
        (root / "camera" / camera).write_text((source / "camera" / camera).read_text())
    output = tmp_path / "foggy"
    output.mkdir()
    config = Config.model_validate({"split": "cityscapes/train"})
    fog.check(config, {"cityscapes": root})
    assert fog.run(config, {"cityscapes": root}, output, None, PlainContext(tmp_path))["images"] == 12
    roots = {"cityscapes": root, "foggy_cityscapes": output}
    found = []
    for beta in ("0.005", "0.01", "0.02"):
        fields = {"split": f"foggy_cityscapes/train_beta_{beta}", "reference": "cityscapes/train"}
        quality = QualityConfig.model_validate(fields)
        image_quality.check(quality, roots)
        found.append(image_quality.run(quality, roots, tmp_path, None, PlainContext(tmp_path)))
    for light, dense in itertools.pairwise(found):
        assert light["images"] == 4
        assert 5 < dense["psnr"] < light["psnr"] < 40
        assert 0.1 < dense["ssim"] < light["ssim"] < 1
