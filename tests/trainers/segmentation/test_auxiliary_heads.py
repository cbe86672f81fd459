from pathlib import Path

import pytest
import torch

from trainers.components.losses import combined_loss
from trainers.context import PlainContext
from trainers.data.images import SplitImages
from trainers.data.loader import Batch
from trainers.errors import UserError
from trainers.segmentation import evaluate, supervised
from trainers.segmentation.evaluate_config import Config as EvaluateConfig
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config


def config(**fields: object) -> Config:
    base = {"train": ["toy_city/day_train"], "select": "toy_city/day_val", "height": 32, "width": 64}
    return Config.model_validate({**base, "precision": "float32", **fields})


@pytest.mark.parametrize(
    ("architecture", "weight", "share"), [("bisenet", None, 1.0), ("pspnet", None, 0.4), ("bisenet", 0.25, 0.25)]
)
def test_the_loss_is_that_of_the_logits_plus_the_weighed_heads(
    architecture: str, weight: float | None, share: float, tmp_path: Path
):
    chosen = config(network={"architecture": architecture}, loss={"alpha": 0.5, "auxiliary_weight": weight})
    torch.manual_seed(0)
    unread = SplitImages.__new__(SplitImages)
    learner = SupervisedLearner(chosen, select=unread, context=PlainContext(tmp_path), pretrained=False)
    images = torch.randint(256, (2, 3, 32, 64), dtype=torch.uint8)
    labels = torch.randint(19, (2, 32, 64), dtype=torch.uint8)
    learner.segmenter.train()
    torch.manual_seed(1)
    with torch.no_grad():
        parts = [combined_loss(one, labels, chosen.loss)["loss"] for one in learner.segmenter(images, auxiliary=True)]
    torch.manual_seed(1)  # Dropout draws the same masks.
    losses = learner.train_step(Batch(images, labels), 1)
    torch.testing.assert_close(losses["loss"].detach(), parts[0] + share * sum(parts[1:]))
    torch.testing.assert_close(losses["auxiliary"], share * sum(parts[1:]))


def test_one_image_a_step_is_refused_before_anything_starts():
    bisenet = {"architecture": "bisenet"}
    with pytest.raises(UserError, match="BiSeNet cannot train on one image of 32×64"):
        supervised.check(config(network=bisenet, batch_size=1), {})
    supervised.check(config(network=bisenet, batch_size=1, batch_norm="frozen"), {})
    supervised.check(config(network=bisenet, batch_size=2), {})


def test_an_evaluation_s_size_is_checked_against_the_network_that_will_be_trained():
    odd = EvaluateConfig.model_validate({"split": "toy_city/day_val", "height": 45})
    with pytest.raises(UserError, match="height 45 is not a multiple of 32"):
        evaluate.check_sources(odd, {"segmenter": config()})
    evaluate.check_sources(odd, {"segmenter": config(network={"architecture": "pspnet"})})
