"""What a batch of self-training is made of, and what is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainers.adaptation import self_training
from trainers.adaptation.self_training_config import Config
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.domains import TargetImages
from trainers.data.images import JoinedImages, SplitImages
from trainers.data.label_files import write_index, write_label
from trainers.data.label_spaces import class_ids
from trainers.errors import UserError
from trainers.evaluation import scores
from trainers.segmentation.supervised import SupervisedLearner, select_images, train_images
from trainers.segmentation.supervised_config import Config as SupervisedConfig
from trainers.selection.pseudo_labels_config import Config as LabelsConfig

FIELDS: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/day_val",
    "target": "toy_city/night_val",
    "height": 32,
    "width": 64,
    "batch_size": 4,
    "augmentation": {"horizontal_flip": 0.0},
}
PSEUDO = 17
"""Train id of every pseudo-labeled pixel here; no image of the toy tree is all motorcycle."""


@pytest.fixture(scope="module")
def inputs(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seven labeled day images, three night images labeled as ``PSEUDO``."""
    folder = tmp_path_factory.mktemp("labels")
    for index in range(3):
        write_label(folder, index, np.full((32, 64), PSEUDO, dtype=np.uint8))
    split = DataSplit.model_validate("toy_city/night_val")
    write_index(folder, split, images=3, height=32, width=64, class_set="cityscapes19")
    return {"toy_city": toy_city, "pseudo_labels": folder}


def kinds(inputs: dict[str, Path], steps: range, *, seed: int = 0, rank: int = 0, world: int = 1,
          **changes: Any) -> list[list[bool]]:  # fmt: skip
    """For each image of each batch: whether it is pseudo-labeled."""
    config = Config.model_validate({**FIELDS, **changes})
    context = PlainContext(Path("unused"))
    context.rank, context.world_size = rank, world
    unlabeled = TargetImages(inputs, config.target, height=32, width=64, pseudo_labels=inputs["pseudo_labels"])
    batches = self_training.compose(config, train_images(config, inputs), unlabeled, seed, context)
    return [[bool((label == PSEUDO).all()) for label in batch.labels] for batch in batches(steps)]


def test_concatenation_shows_every_image_once_an_epoch(inputs: dict[str, Path]):
    """Ten images, four a batch: two epochs in five steps."""
    seen = [kind for batch in kinds(inputs, range(1, 6)) for kind in batch]
    assert [Counter(seen[:10]), Counter(seen[10:])] == [Counter({False: 7, True: 3})] * 2
    assert seen[:10] != seen[10:]
    assert seen != [kind for batch in kinds(inputs, range(1, 6), seed=1) for kind in batch]
    assert kinds(inputs, range(3, 6)) == kinds(inputs, range(1, 6))[2:]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch_has_as_many_of_each_kind_as_it_says(count: int, inputs: dict[str, Path]):
    composed = kinds(inputs, range(1, 9), composition="batch", unlabeled_per_batch=count)
    assert composed == [[False] * (4 - count) + [True] * count] * 8
    shares = [kinds(inputs, range(1, 9), rank=rank, world=2, composition="batch", unlabeled_per_batch=2)
              for rank in range(2)]  # fmt: skip
    assert shares == [[[False, True]] * 8] * 2


def test_a_batch_that_workers_cannot_share_is_refused(inputs: dict[str, Path]):
    with pytest.raises(UserError, match="3 labeled and 1 pseudo-labeled images of a batch do not divide among 2"):
        kinds(inputs, range(1, 2), world=2, composition="batch", unlabeled_per_batch=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"composition": "batch"}, "unlabeled_per_batch and composition batch belong together"),
        ({"unlabeled_per_batch": 2}, "unlabeled_per_batch and composition batch belong together"),
        ({"composition": "batch", "unlabeled_per_batch": 4}, "leaves nothing labeled in batch_size 4"),
    ],
)
def test_a_composition_that_is_none_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({**FIELDS, **changes})


def test_what_does_not_belong_together_is_refused_before_anything_is_trained():
    config = Config.model_validate(FIELDS)
    labels = LabelsConfig.model_validate({"target": "toy_city/night_val", "height": 32, "width": 64})
    self_training.check_sources(config, {"pseudo_labels": labels})
    with pytest.raises(UserError, match="needs the input pseudo_labels"):
        self_training.check_sources(config, {})
    other = labels.model_copy(update={"target": DataSplit.model_validate("toy_city/night_train")})
    with pytest.raises(UserError, match="made with target toy_city/night_train and trained on with toy_city/night_val"):
        self_training.check_sources(config, {"pseudo_labels": other})


def test_a_teacher_of_other_classes_is_refused(inputs: dict[str, Path], tmp_path: Path):
    for index in range(3):
        write_label(tmp_path, index, np.full((32, 64), 0, dtype=np.uint8))
    split = DataSplit.model_validate("toy_city/night_val")
    write_index(tmp_path, split, images=3, height=32, width=64, class_set="camvid11")
    config = Config.model_validate(FIELDS)
    with pytest.raises(UserError, match="the teacher learned the classes camvid11, and the labeled images have citysc"):
        self_training.run(config, {**inputs, "pseudo_labels": tmp_path}, tmp_path, 0, PlainContext(tmp_path))


def test_rare_classes_are_drawn_from_pseudo_labels_too(inputs: dict[str, Path]):
    seen = kinds(inputs, range(1, 40), rare_classes={"temperature": 10.0})
    share = np.mean([kind for batch in seen for kind in batch])
    assert 0 < share < 1


def test_several_splits_choose_by_one_confusion_matrix(toy_city: Path, tmp_path: Path):
    roots = {"toy_city": toy_city}
    fields = {name: value for name, value in FIELDS.items() if name != "target"}
    config = SupervisedConfig.model_validate({**fields, "select_also": ["toy_city/night_val"]})
    torch.manual_seed(0)
    joined = SupervisedLearner(
        config, select=select_images(config, roots), context=PlainContext(tmp_path), pretrained=False
    )
    found = joined.score()["selection"]
    parts = []
    for name in ("day_val", "night_val"):
        split = SplitImages(roots, DataSplit.model_validate(f"toy_city/{name}"), height=32, width=64)
        joined._select = split
        parts.append(joined.tally_select().confusion)
    assert found == scores(sum(parts).numpy(), class_ids("cityscapes19")).miou
    assert found != joined.select_miou(joined.tally_select())


def test_splits_of_different_classes_choose_nothing(toy_city: Path):
    one, other = (
        SplitImages({"toy_city": toy_city}, DataSplit.model_validate(f"toy_city/{name}"), height=32, width=64)
        for name in ("day_val", "night_val")
    )
    other.class_set = "camvid11"
    with pytest.raises(UserError, match=r"toy_city/day_val has the classes cityscapes19 and toy_city/night_val camvid"):
        JoinedImages([one, other])
