"""A training step never waits for the device: under fake tensors anything that would read a value raises."""

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from trainers.components.configs import LossConfig, NetworkConfig, OptimizerConfig
from trainers.components.networks import AUXILIARY_WEIGHTS, OWN
from trainers.context import PlainContext
from trainers.data.images import SplitImages
from trainers.data.loader import Batch
from trainers.networks.segmentation import Segmenter
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config


@pytest.mark.parametrize(
    ("architecture", "alpha"), [("FPN", 0.0), ("FPN", 0.5), ("FPN", 1.0), *((name, 1.0) for name in OWN)]
)
def test_a_supervised_step_reads_no_value(
    architecture: str, alpha: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "to", lambda self, *_, **__: self)  # Fake parameters cannot be swapped.
    config = Config.model_validate(
        {
            "train": ["toy_city/day_train"],
            "select": "toy_city/day_val",
            "height": 64,
            "width": 64,
            "network": NetworkConfig(architecture=architecture, encoder="resnet18"),
            "loss": LossConfig(alpha=alpha, normalise_focal=True, focal_class_weights=(1.0,) * 19),
            "optimizer": OptimizerConfig(clip_gradient_norm=1.0),
        }
    )
    with FakeTensorMode():
        unread = SplitImages.__new__(SplitImages)  # A step never looks at the select split.
        learner = SupervisedLearner(config, select=unread, context=PlainContext(tmp_path), pretrained=False)
        batch = Batch(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(2, 64, 64, dtype=torch.uint8))
        losses = learner.train_step(batch, 1)
    assert set(losses) - {"auxiliary"} == {"loss", "cross_entropy", "focal"}
    assert ("auxiliary" in losses) == (architecture in AUXILIARY_WEIGHTS)


def test_the_guard_fires_where_a_value_is_read() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.zeros(3).sum().item()
