"""The stage ``translate`` with a translator of label maps: images of ids, any size, refusals."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.references import pix2pixhd as reference
from tests.trainers.translation.untrained import DAY, SMALL, global_generator
from trainers.context import PlainContext
from trainers.data import made_files, recombine
from trainers.data.datasets import DataSplit, open_split
from trainers.data.images import SplitImages
from trainers.data.recombine_config import Config as RecombineConfig
from trainers.errors import UserError
from trainers.translation import translate
from trainers.translation.pix2pixhd_config import Config as Pix2PixHDConfig
from trainers.translation.pix2pixhd_config import LabelGeneratorConfig
from trainers.translation.pix2pixhd_networks import Pix2PixHD
from trainers.translation.training import as_bytes
from trainers.translation.translate_config import Config
from trainers.translation.translators import load_translator


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return global_generator(tmp_path_factory.mktemp("translator"))


@pytest.fixture
def broken(toy_city: Path, tmp_path: Path) -> Path:
    """A copy of the city that a test may break."""
    return shutil.copytree(toy_city, tmp_path / "city")


def run(output: Path, inputs: Mapping[str, Path], *, context: PlainContext | None = None, **fields: Any) -> Any:
    output.mkdir()
    config = Config.model_validate(fields)
    translate.check(config, inputs)
    return translate.run(config, inputs, output, None, context or PlainContext(output.parent / "checkpoints"))


def test_an_image_is_the_generator_s_on_the_whole_label_map_alone(translator: Path, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "translator": translator}
    result = run(tmp_path / "out", inputs, val="toy_city/day_val", test="toy_city/night_val")
    assert result == {"images": {"val": 3, "test": 3}, "step": 5, "from": str(DAY), "to": str(DAY)}
    network = Pix2PixHD(LabelGeneratorConfig.model_validate(SMALL)).eval()
    network.load_state_dict(torch.load(translator / "final.pt", weights_only=True)["weights"])
    roots = {"toy_city": toy_city, "translated": tmp_path / "out"}
    made = SplitImages(roots, DataSplit.model_validate("translated/val"), height=32, width=64)
    origin = SplitImages(roots, DataSplit.model_validate("toy_city/day_val"), height=32, width=64)
    for index, sample in enumerate(origin.samples):
        ids = np.asarray(Image.open(str(sample.label)))
        instances = np.asarray(Image.open(str(sample.label).replace("labelIds", "instanceIds")))
        planes = [ids == one for one in range(35)] + [np.array(reference.boundaries(instances.tolist()))]
        with torch.no_grad():
            expected = as_bytes(network(torch.from_numpy(np.stack(planes)).float()[None]))[0]
        assert torch.equal(made[index][0], expected)
        assert torch.equal(made[index][1], origin[index][1])
        assert made.samples[index].label == sample.label
    kinds = {path.name.split("-", 1)[1] for path in (tmp_path / "out" / "pictures").iterdir()}
    assert kinds == {"label_map.png", "real.png", "translated.png"}


def test_panels_of_recombined_maps_show_the_map_and_its_image_alone(translator: Path, toy_city: Path, tmp_path: Path):
    """What a recombined map has in the place of a photograph is a picture of itself; titles are those of its stage."""
    recombined = tmp_path / "recombined"
    recombined.mkdir()
    config = RecombineConfig.model_validate({"split": "toy_city/day_train"})
    recombine.run(config, {"toy_city": toy_city}, recombined, 0, PlainContext(tmp_path / "unused"))
    inputs = {"recombined": recombined, "translator": translator}
    run(tmp_path / "out", inputs, train="recombined/maps")
    panels, maps = (json.loads((folder / "pictures.json").read_text()) for folder in (tmp_path / "out", recombined))
    assert [entry["kind"] for entry in panels] == ["label map", "translated"] * 4
    titles = [entry["title"] for entry in panels if entry["kind"] == "translated"]
    assert titles == [entry["title"] for entry in maps if entry["kind"] == "recombined"]
    made = open_split({**inputs, "translated": tmp_path / "out"}, DataSplit.model_validate("translated/train"))
    assert (
        made[0].image.name == "000000_" + open_split(inputs, DataSplit.model_validate("recombined/maps"))[0].image.name
    )


def test_translations_that_do_not_fit_are_refused_before_anything_is_written(
    translator: Path, toy_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = {"toy_city": toy_city, "translator": translator}
    run(tmp_path / "fits", inputs, train="toy_city/day_train")
    taken = sum(path.stat().st_size for path in (tmp_path / "fits" / "images").rglob("*.png"))
    usage = shutil.disk_usage(tmp_path)

    def with_free(free: float) -> None:
        monkeypatch.setattr(made_files.shutil, "disk_usage", lambda path: usage._replace(free=int(free)))

    with_free(0.9 * taken)
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", inputs, train="toy_city/day_train")
    message = str(error.value)
    assert re.search(r"7 translated images would take about \S+ GB, and .*out has \S+ GB free; free some", message)
    assert "\n" not in message
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    with_free(1.3 * taken)
    run(tmp_path / "now", inputs, train="toy_city/day_train")


def test_the_image_of_a_sample_is_never_read(translator: Path, broken: Path, tmp_path: Path):
    inputs = {"toy_city": broken, "translator": translator}
    run(tmp_path / "before", inputs, val="toy_city/day_val", pictures=0)
    for sample in open_split(inputs, DataSplit.model_validate("toy_city/day_val")):
        sample.image.write_bytes(b"no image")
    run(tmp_path / "after", inputs, val="toy_city/day_val", pictures=0)
    made = [sorted((tmp_path / name / "images").rglob("*.png")) for name in ("before", "after")]
    assert [one.read_bytes() for one in made[0]] == [one.read_bytes() for one in made[1]]


@pytest.mark.parametrize("size", [(33, 61), (30, 64), (5, 7), (1, 2)])
def test_any_size_is_padded_and_cropped_back(size: tuple[int, int], translator: Path):
    made = load_translator(translator, "final", direction="forward", device=torch.device("cpu"))
    ids = torch.randint(0, 34, (1, *size), dtype=torch.int32)
    planes = torch.cat([ids, 1000 * ids])
    assert made(planes).shape == (3, *size)
    assert made(planes, size=(16, 32)).shape == (3, *size)


def test_ids_are_resized_to_the_size_of_inference_without_mixing(translator: Path):
    made = load_translator(translator, "final", direction="forward", device=torch.device("cpu"))
    small = torch.randint(0, 34, (1, 16, 32), dtype=torch.int32)
    small = torch.cat([small, 1000 * small])
    large = small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    seen: list[torch.Tensor] = []

    def spy(planes: torch.Tensor) -> torch.Tensor:
        seen.append(planes)
        return made.translate(planes)

    spied = replace(made, translate=spy)
    assert spied(large, size=(16, 32)).shape == (3, 32, 64)
    assert spied(small[:, :15, :30]).shape == (3, 15, 30)
    assert torch.equal(seen[0], small[None].float())
    assert seen[1].shape == (1, 2, 16, 32)
    assert torch.equal(seen[1][:, :, 15, :30], small[None, :, 13, :30].float()), "the border is mirrored"


def test_label_ids_out_of_range_are_named_with_file_and_range(translator: Path, broken: Path, tmp_path: Path):
    inputs = {"toy_city": broken, "translator": translator}
    label = open_split(inputs, DataSplit.model_validate("toy_city/day_val"))[1].label
    assert label is not None
    ids = np.array(Image.open(label))
    ids[3, 4] = 200
    Image.fromarray(ids).save(label)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out", inputs, val="toy_city/day_val")
    assert f"{label} holds label id 200, and the generator knows 0 to 34" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_instance_maps_are_refused_before_the_first_image(translator: Path, broken: Path, tmp_path: Path):
    missing = sorted((broken / "day" / "gtFine" / "val").rglob("*_instanceIds.png"))[1]
    missing.unlink()
    inputs = {"toy_city": broken, "translator": translator}
    with pytest.raises(UserError, match=rf"{missing.name} does not exist; set generator.edges=false"):
        run(tmp_path / "out", inputs, val="toy_city/day_val")
    plain = global_generator(tmp_path / "plain", edges=False)
    run(tmp_path / "without", {**inputs, "translator": plain}, val="toy_city/day_val")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"val": "toy_city/day_val", "direction": "backward"}, "knows no way back; set direction to forward"),
        ({"unlabeled": "toy_city/day_val"}, "unlabeled is toy_city/day_val, whose labels nobody shall read"),
    ],
)
def test_what_has_no_label_map_to_start_from_is_refused(
    fields: dict[str, Any], words: str, translator: Path, toy_city: Path, tmp_path: Path
):
    """With the trained translator, and before there is one."""
    with pytest.raises(UserError, match=words):
        run(tmp_path / "out", {"toy_city": toy_city, "translator": translator}, **fields)
    training = Pix2PixHDConfig(train=DAY, height=32, width=64)
    with pytest.raises(UserError, match=words):
        translate.check_sources(Config.model_validate(fields), {"translator": training})
