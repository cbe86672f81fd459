"""The stage of DFS: trained and applied, what it refuses and warns of before it starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.trainers.data import miniatures
from tests.trainers.translation.test_dfs import CLEAR, HAZY, config
from trainers.components.configs import NetworkConfig
from trainers.components.image_quality import psnr
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, open_split
from trainers.errors import MethodWarning, UserError
from trainers.measures import image_quality
from trainers.measures.image_quality_config import Config as QualityConfig
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.trained import Trained, trained_on, write_description
from trainers.translation import translate
from trainers.translation.dfs import check, run
from trainers.translation.dfs_config import Config, UNetConfig
from trainers.translation.dfs_networks import UNet
from trainers.translation.training import signed
from trainers.translation.translate_config import Config as TranslateConfig
from trainers.translation.translators import load_translator, write_translator

SMALL = NetworkConfig(encoder="resnet18")


@pytest.fixture(scope="module")
def haze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.blocks_in_haze(tmp_path_factory.mktemp("haze"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one, as a training leaves it."""
    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(1)
    state = {"weights": build_segmenter(SMALL, pretrained=False).state_dict(), "step": 3}
    for name in ("best", "final"):
        torch.save(state, folder / f"{name}.pt")
    write_description(folder, Trained(SMALL, 32, 64), seen=[DataSplit.model_validate("camvid/day_train")])
    return folder


def prepared(segmenter: Path, haze: Path, **fields: Any) -> tuple[Config, dict[str, Path]]:
    return config(features="segmenter@1", **fields), {"dehazing": haze, "segmenter": segmenter}


def test_training_leaves_a_translator_for_images_of_any_size(segmenter: Path, haze: Path, tmp_path: Path):
    """The whole way: trained, applied to folders a, b, c, compared with what it should look like."""
    made, inputs = prepared(segmenter, haze)
    check(made, inputs)
    outputs = {name: tmp_path / name for name in ("dfs", "translated")}
    for output in outputs.values():
        output.mkdir()
    result = run(made, inputs, outputs["dfs"], 0, PlainContext(tmp_path / "checkpoints"))
    assert result["pairs"] == 5
    roots = {"dehazing": haze, "translator": outputs["dfs"]}
    applied = TranslateConfig.model_validate({"test": "dehazing/hazy"})
    translate.check(applied, roots)
    translate.run(applied, roots, outputs["translated"], None, PlainContext(tmp_path / "translate"))
    translated = {"dehazing": haze, "translated": outputs["translated"]}
    quality = QualityConfig.model_validate({"split": "translated/test", "reference": "dehazing/clear"})
    image_quality.check(quality, translated)
    found = image_quality.run(quality, translated, tmp_path, None, PlainContext(tmp_path))
    network = UNet(made.generator).eval()
    network.load_state_dict(torch.load(outputs["dfs"] / "final.pt", weights_only=True)["weights"])
    expected = []
    for sample in open_split({"dehazing": haze}, HAZY):
        image, clear = (torch.from_numpy(np.array(Image.open(path))) for path in (sample.image, sample.partner))
        with torch.no_grad():
            dehazed = network(signed(image.permute(2, 0, 1)[None]))
        pixels = ((dehazed + 1) * 127.5).round().clamp(0, 255)
        expected.append(float(psnr(pixels, clear.permute(2, 0, 1)[None])))
    assert found == {"psnr": pytest.approx(np.mean(expected)), "ssim": found["ssim"], "images": 7}
    assert 0 < found["ssim"] < 1
    made_of = load_translator(outputs["dfs"], "best", direction="forward", device=torch.device("cpu"))
    for size in ((30, 50), (5, 7), (33, 64)):
        assert made_of(torch.randint(0, 256, (3, *size), dtype=torch.uint8)).shape == (3, *size)
    with pytest.raises(UserError, match="dfs takes haze out of images and puts none in; set direction=forward"):
        load_translator(outputs["dfs"], "best", direction="backward", device=torch.device("cpu"))
    with pytest.raises(UserError, match="dehazing/clear is of dehazing/clear, which this translator leads to"):
        translate.check(TranslateConfig.model_validate({"test": "dehazing/clear"}), roots)


def test_a_size_that_fits_is_not_padded(tmp_path: Path):
    """One cell in the middle is what it was trained on; a border would be mirrored streets."""
    small = UNetConfig(width=4, depth=4)
    network = UNet(small).eval()
    torch.save({"weights": network.state_dict(), "step": 1}, tmp_path / "final.pt")
    write_translator(tmp_path, "dfs", generator=small, source=HAZY, target=CLEAR)
    loaded = load_translator(tmp_path, "final", direction="forward", device=torch.device("cpu"))
    image = torch.randint(0, 256, (3, 16, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = ((network(signed(image[None]))[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(loaded(image), expected)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"generator": {"depth": 6}},
            "the crop's height 32 is not a multiple of 64, the stride of a generator of depth 6",
        ),
        ({"augmentation": {"crop_width": 44}}, "the crop's width 44 is not a multiple of 8"),
        ({"discriminator": {"layers": 4}}, "the crop's height 32 is less than the 48 that 4 layers need"),
        ({"source": "toy_city/day_train"}, "has no partner: dehazing/clear has no image of"),
        ({"select": "dehazing/hazy:2"}, "the selection split dehazing/hazy:2 shares 4 image(s)"),
        ({"features": "vgg16@relu2_2:/absent.pth"}, "/absent.pth"),
        ({"generator": {"depth": 3}, "width": 40}, "width 40 is not a multiple of 32, the network's stride"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(
    fields: dict[str, Any], words: str, segmenter: Path, haze: Path, toy_city: Path
):
    with pytest.raises(UserError) as caught:
        check(config(**fields), {"dehazing": haze, "segmenter": segmenter, "toy_city": toy_city})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"features": None}, "weights.perceptual needs features"),
        ({"weights": dict.fromkeys(("gan", "pixel", "perceptual", "segmentation"), 0.0)}, "all weights are 0"),
        ({"target": "dehazing/hazy:5"}, "dehazing/hazy:5 is hazy and clear at once"),
        ({"augmentation": {"photometric": {"probability": 0.5}}}, "would change what haze looks like"),
        ({"source": "foggy_cityscapes/test_beta_0.01"}, "foggy_cityscapes/test_beta_0.01 has no labels"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_configuration(fields: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        config(**fields)


def test_a_segmenter_that_knows_the_images_is_refused_by_content(segmenter: Path, haze: Path, tmp_path: Path):
    """A clear partner under another name, in another data set."""
    folder = tmp_path / "photos"
    folder.mkdir()
    frame = open_split({"dehazing": haze}, HAZY.model_copy(update={"count": 5}))[0]
    assert frame.partner is not None
    (folder / "holiday.png").write_bytes(frame.partner.read_bytes())
    known = tmp_path / "known"
    known.mkdir()
    write_description(known, Trained(SMALL, 32, 64), seen=[DataSplit.model_validate("images/all")], initial=segmenter)
    assert [str(split) for split in trained_on(known) or []] == ["camvid/day_train", "images/all"]
    with pytest.raises(UserError, match=r"the segmenter's images/all shares 1 image\(s\).*holiday\.png is also .*/b/"):
        check(config(), {"dehazing": haze, "segmenter": known, "images": folder})


def test_a_single_pair_and_a_segmenter_of_unknown_origin_are_told(segmenter: Path, haze: Path, tmp_path: Path):
    for name in ("best.pt", "final.pt"):
        (tmp_path / name).symlink_to(segmenter / name)
    write_description(tmp_path, Trained(SMALL, 32, 64))
    output = tmp_path / "output"
    output.mkdir()
    one = config(source="dehazing/hazy:1", loop={"steps": 1})
    with pytest.warns(MethodWarning) as told:
        run(one, {"dehazing": haze, "segmenter": tmp_path}, output, 0, PlainContext(tmp_path / "checkpoints"))
    messages = [str(one.message) for one in told]
    assert any("dehazing/hazy:1 is a single pair" in message for message in messages)
    assert any("does not say what it was trained on" in message for message in messages)
