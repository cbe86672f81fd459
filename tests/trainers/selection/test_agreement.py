"""Keeping what a segmenter agrees with: against counting by hand, also of images that another stage made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.trainers.ranks import Rank
from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, label_map_of, open_split
from trainers.data.images import SplitImages
from trainers.data.references import Reference, write_references
from trainers.errors import UserError
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.trained import Trained, write_description
from trainers.selection import agreement
from trainers.selection.agreement_config import Config

SIZE = {"height": 32, "width": 64}


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(0)
    torch.save(
        {"weights": build_segmenter(NetworkConfig(), pretrained=False).state_dict(), "step": 7}, folder / "best.pt"
    )
    write_description(folder, Trained(NetworkConfig(), 32, 64))
    return folder


def run(output: Path, inputs: Mapping[str, Path], **fields: Any) -> Any:
    output.mkdir()
    config = Config.model_validate({"split": "toy_city/day_train", **SIZE, **fields})
    agreement.check(config, inputs)
    return agreement.run(config, inputs, output, None, PlainContext(output / "unused"))


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


def counted(segmenter: Path, roots: Mapping[str, Path], which: DataSplit, measure: str) -> list[float]:
    """Agreement of each image, by sets of pixels."""
    network = build_segmenter(NetworkConfig(), pretrained=False)
    network.load_state_dict(torch.load(segmenter / "best.pt", weights_only=True)["weights"])
    images = SplitImages(roots, which, **SIZE)
    found = []
    for index in range(len(images)):
        with torch.no_grad():
            predicted = network.eval()(images[index][0][None])[0].argmax(dim=0).numpy()
        truth = images[index][1].numpy()
        valid = truth != 255
        ious = []
        for one in range(19):
            both = ((truth == one) & (predicted == one) & valid).sum()
            either = (((truth == one) | (predicted == one)) & valid).sum()
            ious += [both / either] if either else []
        found.append(float(np.mean(ious)) if measure == "miou" else float((truth == predicted)[valid].mean()))
    return found


@pytest.mark.parametrize("measure", ["pixel_accuracy", "miou"])
def test_what_reaches_the_threshold_is_kept(measure: str, segmenter: Path, toy_city: Path, tmp_path: Path):
    roots = {"toy_city": toy_city}
    expected = counted(segmenter, roots, split("toy_city/day_train"), measure)
    assert len(set(expected)) == 7
    threshold = (sorted(expected)[3] + sorted(expected)[4]) / 2
    inputs = {**roots, "segmenter": segmenter}
    result = run(tmp_path / "out", inputs, measure=measure, threshold=threshold, batch_size=3)
    assert (result["images"], result["kept"]) == (7, 3)
    assert result["quantiles"] == pytest.approx(np.quantile(expected, np.linspace(0, 1, 11)).tolist())
    kept = open_split({**roots, "agreed": tmp_path / "out"}, split("agreed/train"))
    samples = open_split(roots, split("toy_city/day_train"))
    assert kept == [one for one, value in zip(samples, expected, strict=True) if value >= threshold]
    whole = run(tmp_path / "all", inputs, measure=measure, threshold=0.0)
    assert whole["kept"] == 7
    part = run(tmp_path / "part", inputs, measure=measure, quantile=0.5)
    assert (part["kept"], part["threshold"]) == (4, pytest.approx(sorted(expected)[3]))


def test_images_that_another_stage_made_keep_their_labels(segmenter: Path, toy_city: Path, tmp_path: Path):
    """As in the study: images of label maps, of which the good ones are kept."""
    originals = open_split({"toy_city": toy_city}, split("toy_city/day_train"))
    made = tmp_path / "made"
    (made / "images").mkdir(parents=True)
    for number, sample in enumerate(originals):
        pixels = np.asarray(Image.open(sample.image))
        Image.fromarray(255 - pixels if number % 2 else pixels).save(made / "images" / f"{number}.png")
    names = tuple(sample.image.relative_to(toy_city).as_posix() for sample in originals)
    reference = Reference("toy_city/day_train", names, tuple(f"images/{number}.png" for number in range(7)))
    label_map = label_map_of("toy_city", toy_city)
    write_references(made, {"train": reference}, label_map=label_map, fingerprints={"train": ""})
    roots = {"toy_city": toy_city, "translated": made}
    values = counted(segmenter, roots, split("translated/train"), "pixel_accuracy")
    threshold = float(np.median(values))
    inputs = {**roots, "segmenter": segmenter}
    run(tmp_path / "out", inputs, split="translated/train", threshold=threshold)
    roots["agreed"] = tmp_path / "out"
    kept = open_split(roots, split("agreed/train"))
    expected = [number for number, value in enumerate(values) if value >= threshold]
    assert [sample.image for sample in kept] == [made / "images" / f"{number}.png" for number in expected]
    assert [sample.label for sample in kept] == [originals[number].label for number in expected]


def test_ranks_keep_together_what_one_process_keeps(segmenter: Path, toy_city: Path, tmp_path: Path):
    """Each looks at its own images; the last of them knows all and writes."""
    inputs = {"toy_city": toy_city, "segmenter": segmenter}
    values = counted(segmenter, {"toy_city": toy_city}, split("toy_city/day_train"), "pixel_accuracy")
    threshold = (sorted(values)[2] + sorted(values)[3]) / 2
    whole = run(tmp_path / "whole", inputs, threshold=threshold)
    assert whole["kept"] == 4
    config = Config.model_validate({"split": "toy_city/day_train", **SIZE, "threshold": threshold, "batch_size": 2})
    (tmp_path / "both").mkdir()
    images = SplitImages(inputs, config.split, height=32, width=64, cache_bytes=0)
    sums: list[torch.Tensor] = []
    half = agreement._agreement(config, inputs, images, Rank(tmp_path, 1, sums))
    assert (np.flatnonzero(half) % 2 == 1).all(), "a rank has looked at another's images"
    result = agreement.run(config, inputs, tmp_path / "both", None, Rank(tmp_path, 0, sums))
    assert {**result, "quantiles": None} == {**whole, "quantiles": None}
    assert result["quantiles"] == pytest.approx(whole["quantiles"])
    kept = [(tmp_path / name / "references.json").read_bytes() for name in ("whole", "both")]
    assert kept[0] == kept[1]


def test_a_threshold_that_nothing_reaches_is_refused(segmenter: Path, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "segmenter": segmenter}
    with pytest.raises(UserError, match=r"no image of toy_city/day_train reaches a pixel_accuracy of 0\.99") as error:
        run(tmp_path / "out", inputs, threshold=0.99)
    assert "\n" not in str(error.value)
    with pytest.raises(ValidationError, match="has no labels to agree with"):
        Config.model_validate({"split": "toy_city/night_pool", **SIZE, "threshold": 0.5})
    for fields in ({}, {"threshold": 0.5, "quantile": 0.5}):
        with pytest.raises(ValidationError, match="give threshold or quantile, one of them"):
            Config.model_validate({"split": "toy_city/day_train", **SIZE, **fields})
