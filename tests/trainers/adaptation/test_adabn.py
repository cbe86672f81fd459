"""Statistics of the target against sums written out, and what may and may not move."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers.adaptation import adabn
from trainers.adaptation.adabn_config import Config
from trainers.checkpoint import load_state, save_state
from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.domains import TargetImages
from trainers.errors import UserError
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.trained import Trained, write_description

DAY = DataSplit(dataset="toy_city", split="day_train")


class Two(nn.Module):
    """A batch norm of the colors, and one of what it gives, squared."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3, eps=0.5), nn.BatchNorm2d(3)
        nn.init.uniform_(self.first.weight, 0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(images.float()) ** 2)
        return result


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of n h w c values: means, variances to normalize by, unbiased variances."""
    flat = values.reshape(-1, values.shape[-1])
    return flat.mean(axis=0), flat.var(axis=0), flat.var(axis=0, ddof=1)


def test_statistics_are_the_means_over_batches_of_each_batch_s_own(toy_city: Path, tmp_path: Path):
    """Seven images in batches of three, three, and one, which has no batch to be normalized by."""
    images = TargetImages({"toy_city": toy_city}, DAY, height=32, width=64)
    network = Two()
    weight = network.first.weight.detach().double().numpy()
    expected = []
    for start in (0, 3):
        batch = np.stack([images[index][0].double().permute(1, 2, 0).numpy() for index in range(start, start + 3)])
        mean, biased, unbiased = moments(batch)
        behind = ((batch - mean) / np.sqrt(biased + 0.5) * weight) ** 2
        mean_behind, _, unbiased_behind = moments(behind)
        expected.append(np.concatenate([mean, mean_behind, unbiased, unbiased_behind]))
    config = Config.model_validate({"target": "toy_city/day_train", "batch_size": 3})
    layers = [network.first, network.second]
    found = adabn.target_statistics(network, layers, images, config, PlainContext(tmp_path))
    np.testing.assert_allclose(found.numpy(), np.mean(expected, axis=0), rtol=1e-5)
    assert [layer.momentum for layer in layers] == [0.1, 0.1]
    assert not network.training


def segmenter(folder: Path) -> Path:
    torch.manual_seed(0)
    network = NetworkConfig()
    for step, name in enumerate(("best", "final")):
        built = build_segmenter(network, pretrained=False)
        save_state(folder / f"{name}.pt", {"weights": built.state_dict(), "step": step})
    write_description(folder, Trained(network, 32, 64))
    return folder


def test_only_statistics_move_and_both_checkpoints_keep_their_steps(toy_city: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    inputs = {"toy_city": toy_city, "segmenter": segmenter(tmp_path / "in")}
    config = Config.model_validate({"target": "toy_city/day_train"})
    result = adabn.run(config, inputs, tmp_path / "out", None, PlainContext(tmp_path))
    assert result["unlabeled_images"] == 7
    assert result["mean_shift"] > 0.01
    assert result["log_variance_shift"] > 0.01
    for name in ("best", "final"):
        before, after = (load_state(tmp_path / folder / f"{name}.pt") for folder in ("in", "out"))
        assert before["step"] == after["step"]
        assert before["weights"].keys() == after["weights"].keys()
        moved = {key.rpartition(".")[2] for key, value in after["weights"].items()
                 if not torch.equal(value, before["weights"][key])}  # fmt: skip
        assert moved == {"running_mean", "running_var"}


def test_a_target_of_one_image_and_a_network_without_batch_norm_are_refused(
    toy_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = {"toy_city": toy_city, "segmenter": segmenter(tmp_path)}
    one = Config.model_validate({"target": "toy_city/day_train:1"})
    with pytest.raises(UserError, match=r"has 1 image\(s\), and statistics need two; take a larger target"):
        adabn.run(one, inputs, tmp_path, None, PlainContext(tmp_path))
    monkeypatch.setattr(adabn, "BatchNorm", nn.InstanceNorm2d)
    some = Config.model_validate({"target": "toy_city/day_train"})
    with pytest.raises(UserError, match=r"resnet18 has no batch norm, so there are no statistics to adapt"):
        adabn.run(some, inputs, tmp_path, None, PlainContext(tmp_path))
