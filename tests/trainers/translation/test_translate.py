"""Translating a data set: whole images of any size, a kill in between, the result's readers, the pool's split."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, open_split
from trainers.data.images import SplitImages
from trainers.errors import UserError
from trainers.selection import light_split
from trainers.selection.light import brightness_score
from trainers.selection.light_split_config import Config as LightConfig
from trainers.translation import translate
from trainers.translation.configs import GeneratorConfig
from trainers.translation.enhancement import clahe, gamma
from trainers.translation.training import as_bytes, signed
from trainers.translation.translate_config import Config
from trainers.translation.translators import check_direction, domain_of, load_translator, pad_to, write_translator
from trainers.translation.unit_config import Config as UNITConfig
from trainers.translation.unit_networks import UNIT

DAY, NIGHT = (DataSplit.model_validate(f"toy_city/{name}") for name in ("day_train", "night_train"))
SMALL = GeneratorConfig(width=4, blocks=1)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one, day to night, as a training leaves it."""
    folder = tmp_path_factory.mktemp("translator")
    torch.manual_seed(0)
    torch.save({"weights": UNIT(SMALL).state_dict(), "step": 5}, folder / "final.pt")
    write_translator(folder, "unit", generator=SMALL, source=DAY, target=NIGHT)
    return folder


def run(output: Path, inputs: Mapping[str, Path], *, context: PlainContext | None = None, **fields: Any) -> Any:
    output.mkdir()
    config = Config.model_validate(fields)
    translate.check(config, inputs)
    return translate.run(config, inputs, output, None, context or PlainContext(output.parent / "checkpoints"))


def test_a_translation_is_the_network_s_on_the_whole_image(translator: Path, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "translator": translator}
    result = run(tmp_path / "out", inputs, val="toy_city/day_val", unlabeled="toy_city/day_train")
    assert result == {"images": {"val": 3, "unlabeled": 7}, "step": 5, "from": str(DAY), "to": str(NIGHT)}
    network = UNIT(SMALL)
    network.load_state_dict(torch.load(translator / "final.pt", weights_only=True)["weights"])
    roots = {"toy_city": toy_city, "translated": tmp_path / "out"}
    made = SplitImages(roots, DataSplit.model_validate("translated/val"), height=32, width=64)
    origin = SplitImages(roots, DataSplit.model_validate("toy_city/day_val"), height=32, width=64)
    for index in range(3):
        with torch.no_grad():
            expected = as_bytes(network.eval().translate(signed(origin[index][0][None]), to="target"))[0]
        assert torch.equal(made[index][0], expected)
        assert torch.equal(made[index][1], origin[index][1])
    assert made.samples[0].image.name == f"000000_{origin.samples[0].image.stem}.png"
    assert len(json.loads((tmp_path / "out" / "pictures.json").read_text())) == 2 * 4


def test_backward_is_the_other_way_round(translator: Path):
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    forward, backward = (
        load_translator(translator, "final", direction=one, device=torch.device("cpu"))
        for one in ("forward", "backward")
    )
    assert (forward.origin, forward.goal, backward.origin, backward.goal) == (DAY, NIGHT, NIGHT, DAY)
    assert not torch.equal(forward(image), backward(image))


@pytest.mark.parametrize("size", [(33, 61), (30, 64), (5, 7), (1, 2)])
def test_any_size_is_padded_and_cropped_back(size: tuple[int, int], translator: Path):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    made = load_translator(translator, "final", direction="forward", device=torch.device("cpu"))
    assert made(image).shape == image.shape
    assert made(image, size=(16, 32)).shape == image.shape


def test_padding_mirrors_the_border_below_and_to_the_right():
    row = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 8, 6)
    assert pad_to(row, 4, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]
    assert pad_to(row[..., :2], 4, 8)[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert pad_to(row, 2, 8).shape == (1, 1, 8, 8)
    assert pad_to(row, 4, 4).shape == (1, 1, 8, 8)
    whole = torch.rand(1, 1, 8, 12)
    assert pad_to(whole, 4, 8) is whole


class Killed(BaseException):
    pass


def test_a_kill_costs_the_images_since_the_last_checkpoint(
    translator: Path, toy_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = {"toy_city": toy_city, "translator": translator}
    fields = {"unlabeled": "toy_city/day_train", "checkpoint_every_images": 2}
    run(tmp_path / "whole", inputs, context=PlainContext(tmp_path / "none"), **fields)

    def listen(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "torn", inputs, context=PlainContext(tmp_path / "kept", on_report=listen), **fields)
    translated = []
    kind = translate.Translator
    call = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda self, image, **size: (translated.append(1), call(self, image, **size))[1]
    )
    run(tmp_path / "again", inputs, context=PlainContext(tmp_path / "kept"), **fields)
    assert len(translated) == 3 + 3  # All that were missing are looked at to estimate their size.
    files = [
        sorted(path.relative_to(root) for path in root.rglob("*.png"))
        for root in (tmp_path / "whole", tmp_path / "again")
    ]
    assert files[0] == files[1]
    for path in files[0]:
        assert (tmp_path / "whole" / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_gray_images_are_translated(translator: Path, tmp_path: Path):
    (tmp_path / "pool").mkdir()
    Image.fromarray(np.full((20, 30), 200, dtype=np.uint8)).save(tmp_path / "pool" / "gray.png")
    Image.fromarray(np.full((20, 30), 200 * 257, dtype=np.uint16)).save(tmp_path / "pool" / "deep.png")
    inputs = {"images": tmp_path / "pool", "translator": translator}
    run(tmp_path / "out", inputs, unlabeled="images/all")
    made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out" / "images").rglob("*.png"))]
    assert made[0].shape == (20, 30, 3)
    np.testing.assert_array_equal(made[0], made[1])


def test_images_of_the_far_domain_are_refused(translator: Path, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "translator": translator}
    with pytest.raises(UserError, match="toy_city/night_val is of toy_city/night, which this translator leads to"):
        run(tmp_path / "out", inputs, val="toy_city/night_val")
    run(tmp_path / "back", inputs, val="toy_city/night_val", direction="backward")
    sources = {"translator": UNITConfig(source=DAY, target=NIGHT, height=64, width=64)}
    with pytest.raises(UserError, match="set direction the other way round"):
        translate.check_sources(Config.model_validate({"val": "toy_city/night_val"}), sources)


def test_images_of_a_third_domain_are_told():
    def told(split: str, origin: str, goal: str) -> list[str]:
        ends = {"origin": DataSplit.model_validate(origin), "goal": DataSplit.model_validate(goal)}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_direction(DataSplit.model_validate(split), **ends)
        return [str(one.message) for one in caught]

    (warning,) = told("toy_city/fog_val", "toy_city/day_train", "toy_city/night_train")
    assert warning.startswith(
        "toy_city/fog_val is of toy_city/fog, and this translator was trained from toy_city/day to"
    )
    foggy = ("foggy_cityscapes/train_beta_0.01", "cityscapes/train")
    assert not told("foggy_cityscapes/val_beta_0.02", *foggy)
    assert not told("cityscapes/val", "toy_city/day_train", "toy_city/night_train")
    assert not told("toy_city/day_test", "toy_city/day_train", "toy_city/night_train")


def test_a_folder_without_a_translator_and_weights_of_another_are_refused(translator: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no trained translator: translator.json is missing"):
        load_translator(tmp_path, "final", direction="forward", device=torch.device("cpu"))
    write_translator(tmp_path, "unit", generator=GeneratorConfig(width=8, blocks=1), source=DAY, target=NIGHT)
    (tmp_path / "final.pt").write_bytes((translator / "final.pt").read_bytes())
    with pytest.raises(UserError, match=r"final.pt does not fit its translator.json"):
        load_translator(tmp_path, "final", direction="forward", device=torch.device("cpu"))


def test_domains_are_told_by_the_name_of_a_split():
    names = ("toy_city/night_held_out", "dark_zurich/train_night", "acdc/night_train", "nexet/night", "cityscapes/val",
             "camvid/dusk_adapt")  # fmt: skip
    found = [domain_of(DataSplit.model_validate(name)) for name in names]
    assert found == ["toy_city/night", "dark_zurich/night", "acdc/night", "nexet/night", "cityscapes/", "camvid/dusk"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nothing to translate"),
        ({"train": "toy_city/night_pool"}, "train takes a labeled split, and toy_city/night_pool has no labels"),
        ({"train": "toy_city/day_train", "val": "cityscapes/val"}, "splits must be of one data set"),
        ({"val": "toy_city/day_val", "inference_height": 64}, "give both inference_height and inference_width"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_the_configuration(fields: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        Config.model_validate(fields)


def test_gamma_is_the_power_and_keeps_black_and_white():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    brightened = gamma(values, 0.5)
    assert brightened[8, 0, 0] == round(255 * (128 / 255) ** 0.5)
    assert (brightened.min(), brightened.max()) == (0, 255)
    np.testing.assert_array_equal(gamma(values, 1.0), values)


def test_clahe_with_one_tile_and_no_limit_is_equalization():
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(0, 60, (40, 50, 1)).astype(np.uint8), 3, axis=2)
    found, luma = (np.asarray(Image.fromarray(one).convert("YCbCr"))[..., 0].astype(int)
                   for one in (clahe(image, clip=40.0, tiles=1), image))  # fmt: skip
    share = np.array([(luma <= value).mean() for value in range(256)])
    assert np.abs(found - 255 * share[luma]).max() <= 2  # Color conversion rounds.


def test_clahe_lifts_a_dark_part_more_than_a_limit_allows_noise():
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.integers(0, 20, (32, 32, 3)), rng.integers(100, 250, (32, 32, 3))]).astype(np.uint8)
    mild, strong = (clahe(image, clip=clip, tiles=4)[:32].astype(float).std() for clip in (1.0, 8.0))
    assert strong > 2 * mild
    assert clahe(image[:5, :7], clip=2.0, tiles=8).shape == (5, 7, 3)


def test_the_score_weighs_red_less():
    colors = np.array([[100.0, 0, 0], [0, 100, 0], [10, 20, 30]])
    np.testing.assert_allclose(brightness_score(colors, alpha=0.5, scale="sum"), [50, 100, 55])
    np.testing.assert_allclose(brightness_score(colors, alpha=0.5, scale="mean"), [20, 40, 22])
    assert brightness_score(np.full((1, 3), 255.0), alpha=0.5, scale="percent") == pytest.approx(100)


def pool(root: Path, levels: list[int]) -> Path:
    root.mkdir()
    for number, level in enumerate(levels):
        Image.fromarray(np.full((4, 6, 3), level, dtype=np.uint8)).save(root / f"{number:02d}.png")
    return root


def test_a_pool_is_split_by_light_and_three_to_one(tmp_path: Path):
    levels = [10, 200] * 8 + [64, 65, 66, 20]
    roots = {"images": pool(tmp_path / "pool", levels)}
    (tmp_path / "out").mkdir()
    config = LightConfig.model_validate({"pool": "images/all"})
    result = light_split.run(config, roots, tmp_path / "out", None, PlainContext(tmp_path))
    assert result["images"] == {"day_train": 8, "day_val": 2, "night_train": 8, "night_val": 2}
    roots["light_pool"] = tmp_path / "out"
    seen: dict[str, set[str]] = {}
    for part in result["images"]:
        samples = open_split(roots, DataSplit.model_validate(f"light_pool/{part}"))
        names = {sample.image.name for sample in samples}
        assert {levels[int(name[:2])] < 65 for name in names} == {part.startswith("night")}
        seen[part] = names
    assert len(set.union(*seen.values())) == 20
    images = SplitImages(roots, DataSplit.model_validate("light_pool/night_val"), height=4, width=6)
    assert (images[0][1] == 255).all()


def test_a_pool_of_one_light_is_refused(tmp_path: Path):
    roots = {"images": pool(tmp_path / "pool", [200, 210, 220, 10])}
    config = LightConfig.model_validate({"pool": "images/all"})
    with pytest.raises(UserError, match="1 of the 4 images of images/all are night at threshold 65; scores"):
        light_split.run(config, roots, tmp_path, None, PlainContext(tmp_path))


def test_a_part_of_a_split_pool_is_translated_too(translator: Path, tmp_path: Path):
    roots = {"images": pool(tmp_path / "pool", [10, 20, 30, 200, 210, 220])}
    (tmp_path / "light").mkdir()
    config = LightConfig.model_validate({"pool": "images/all"})
    light_split.run(config, roots, tmp_path / "light", None, PlainContext(tmp_path))
    inputs = {**roots, "light_pool": tmp_path / "light", "translator": translator}
    result = run(tmp_path / "out", inputs, unlabeled="light_pool/day_train")
    inputs["translated"] = tmp_path / "out"
    samples = open_split(inputs, DataSplit.model_validate("translated/unlabeled"))
    assert len(samples) == result["images"]["unlabeled"] == 2
