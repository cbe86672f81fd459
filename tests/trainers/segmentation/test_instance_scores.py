"""iIoU against a slow loop; what it cannot be computed from is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.contracts.test_methods import run
from tests.references import evaluation as reference
from trainers.config import keyed
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.label_spaces import CITYSCAPES, IGNORE_LABEL
from trainers.errors import UserError
from trainers.evaluation import confusion_matrix
from trainers.segmentation.evaluate import check
from trainers.segmentation.evaluate_config import Config
from trainers.segmentation.instance_scores import InstanceTally, instance_miou, object_sums, sizes_for

IDS = (7, 4, 24, 24_000, 24_001, 26_000, 26_003, 29_000, 33_002)
"""Road, void, a crowd, persons, cars, a caravan (void), a bicycle."""


def scene(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Instances in patches, their train ids, and predictions that are right in half of the pixels."""
    rng = np.random.default_rng(seed)
    instances = np.kron(rng.choice(IDS, size=(4, 5)), np.ones((2, 3), dtype=int))
    labels = np.where(instances >= 1000, instances // 1000, instances)
    truth = np.vectorize(CITYSCAPES.get)(labels)
    predicted = np.where(rng.random(truth.shape) < 0.5, truth, rng.choice([0, 11, 13, 18], size=truth.shape))
    predicted[predicted == IGNORE_LABEL] = 13
    return torch.from_numpy(instances), torch.from_numpy(truth).to(torch.uint8), torch.from_numpy(predicted)


@pytest.mark.parametrize("seed", range(5))
def test_iiou_is_that_of_the_slow_loop_also_when_images_add_up(seed: int):
    scenes = [scene(10 * seed + number) for number in range(3)]
    sums = sum(object_sums(predicted, instances) for instances, _, predicted in scenes)
    confusion = sum(confusion_matrix(truth[None], predicted[None]) for _, truth, predicted in scenes)
    # Two images with one instance id show two objects.
    shifted = [instances + 10 * number * (instances >= 1000) for number, (instances, _, _) in enumerate(scenes)]
    flat = [torch.cat([part.flatten() for part in parts]).tolist() for parts in zip(*scenes, strict=True)]
    ids = torch.cat([instances.flatten() for instances in shifted]).tolist()
    expected = reference.instance_ious(ids, flat[1], flat[2], CITYSCAPES)
    assert instance_miou(sums.numpy(), confusion.numpy()) == pytest.approx(np.mean(list(expected.values())))
    assert set(expected) <= {11, 13, 18}


TRAIN_ID_SIZES = {11: 3462.4756337644, 12: 3930.4788056518, 13: 12794.0202738185, 14: 27855.1264367816,
                  15: 35732.1511111111, 16: 67583.7075812274, 17: 6298.7200839748, 18: 4672.3249222261}  # fmt: skip
"""Written out from cityscapesScripts, by train id."""


@pytest.mark.parametrize("seed", range(5))
def test_with_the_classes_of_cityscapes_it_is_that_of_the_released_script(seed: int):
    scenes = [scene(10 * seed + number) for number in range(3)]
    for _, _, predicted in scenes:
        predicted[0, :2] = 16  # No object of this class is shown: its false positives count, as 0.
    sums = sum(object_sums(predicted, instances) for instances, _, predicted in scenes).numpy()
    confusion = sum(confusion_matrix(truth[None], predicted[None]) for _, truth, predicted in scenes).numpy()
    images = [tuple(part.numpy() for part in one) for one in scenes]
    scale = images[0][0].size / (1024 * 2048)
    sizes = {one: size * scale for one, size in TRAIN_ID_SIZES.items()}
    expected = reference.cityscapes_iiou(images, sizes, CITYSCAPES)
    assert instance_miou(sums, confusion, "cityscapes") == pytest.approx(expected)
    assert instance_miou(sums, confusion, "cityscapes") != pytest.approx(instance_miou(sums, confusion))


def test_at_1024_by_2048_the_published_sizes_are_taken_as_they_are():
    """Half of a person of 200 pixels is found, and 3,000 pixels are called person that are none."""
    instances = torch.full((1024, 2048), 7)
    instances[:10, :20] = 24_000
    truth = torch.where(instances == 7, 0, 11).to(torch.uint8)
    predicted = truth.long().clone()
    predicted[:5, :20], predicted[500:510, :300] = 0, 11
    confusion = confusion_matrix(truth[None], predicted[None]).numpy()
    person = 3462.4756337644
    expected = (0.5 * person) / (person + 3000)
    score = instance_miou(object_sums(predicted, instances).numpy(), confusion, "cityscapes")
    assert score == pytest.approx(expected)


def test_which_sizes_weigh_objects_follows_the_classes():
    assert sizes_for("cityscapes19") == "cityscapes"
    assert {sizes_for("camvid11"), sizes_for("train_ids:0,13")} == {"scored_images"}


def test_the_version_of_iiou_is_in_the_keys_of_those_who_have_it_alone():
    keys = [keyed(Config.model_validate({"split": "toy_city/day_val", "instances": one})) for one in (True, False)]
    assert [one.get("iiou_version") for one in keys] == [2, None]


def test_a_result_says_whose_sizes_weighed(toy_city: Path, tmp_path: Path):
    sources = {"toy_city": toy_city}
    run("supervised", sources, tmp_path / "trained")
    sources["segmenter"] = tmp_path / "trained" / "output"
    result = run("evaluation", sources, tmp_path / "evaluated").result
    assert result["iiou_sizes"] == "cityscapes"
    assert run("evaluation", sources, tmp_path / "plain", instances=False).result.get("iiou_sizes") is None


def test_a_small_object_that_is_missed_costs_as_much_as_a_large_one():
    instances = torch.full((4, 8), 7)
    instances[:, 4:], instances[0, 0] = 26_000, 26_001
    truth = torch.where(instances == 7, 0, 13)
    scores = []
    for missed in (26_000, 26_001):
        predicted = torch.where(instances == missed, 0, truth)
        confusion = confusion_matrix(truth[None].to(torch.uint8), predicted[None]).numpy()
        scores.append(instance_miou(object_sums(predicted, instances).numpy(), confusion))
    assert scores == pytest.approx([0.5, 0.5])


def test_without_objects_there_is_no_score():
    none = torch.full((2, 2), 7)
    assert instance_miou(object_sums(none * 0, none).numpy(), np.zeros((19, 19), dtype=np.int64)) is None


def test_ranks_read_their_own_instance_maps(toy_city: Path):
    split = SplitImages({"toy_city": toy_city}, DataSplit.model_validate("toy_city/day_val"), height=32, width=64)
    labels = torch.stack([split[index][1] for index in range(len(split))]).long()
    tallies = []
    for rank, world_size in ((0, 1), (0, 2), (1, 2)):
        tally = InstanceTally(split, rank=rank, world_size=world_size)
        for prediction in labels[rank::world_size]:
            tally.add(prediction[None])
        tallies.append(tally.sums)
    torch.testing.assert_close(tallies[0], tallies[1] + tallies[2])
    objects, _, found, scaled, _ = tallies[0]
    torch.testing.assert_close(scaled, objects * 32 * 64 / (1024 * 2048))
    assert objects.sum() > 3
    torch.testing.assert_close(found, objects, msg="who predicts the truth finds every pixel of every object")


def test_a_split_without_instance_maps_is_refused_with_the_remedy(toy_city: Path, tmp_path: Path):
    config = Config.model_validate({"split": "toy_city/day_val", "instances": True})
    check(config, {"toy_city": toy_city})
    label = toy_city / "day/gtFine/val"
    for path in label.rglob("*"):
        target = tmp_path / path.relative_to(toy_city)
        if path.is_file() and "instanceIds" not in path.name:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    images = toy_city / "day/leftImg8bit"
    (tmp_path / "day/leftImg8bit").symlink_to(images)
    with pytest.raises(UserError, match=r"_gtFine_instanceIds.png does not exist .*; set instances=false"):
        check(config, {"toy_city": tmp_path})


def test_an_instance_map_in_colors_is_named(toy_city: Path, tmp_path: Path):
    from trainers.data.instances import read_instances

    Image.new("RGB", (8, 4)).save(tmp_path / "a_gtFine_instanceIds.png")
    with pytest.raises(UserError, match="has mode RGB"):
        read_instances(tmp_path / "a_gtFine_labelIds.png")
