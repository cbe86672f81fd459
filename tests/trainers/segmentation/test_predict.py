import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from trainers.segmentation.predict import Prediction, Unreadable, predict

CPU = torch.device("cpu")


class Channels(nn.Module):
    """Logits that are the colors: red is class 0, green 1, blue 2; written down is what it was given."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, images):
        self.batches.append(tuple(images.shape))
        rest = torch.full((len(images), 16, *images.shape[2:]), -100.0)
        return torch.cat([images.float() / 32, rest], dim=1)


@pytest.fixture
def photos(tmp_path):
    """Five images of different sizes and modes."""
    dice = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate([(32, 64), (50, 70), (20, 31), (96, 64), (33, 65)]):
        image = Image.fromarray(dice.integers(0, 256, (height, width, 3), np.uint8))
        path = tmp_path / f"{number}.png"
        (image.convert("L") if number == 2 else image).save(path)
        paths.append(path)
    return paths


def run(paths, **options):
    return list(predict(Channels(), paths, **{"height": 32, "width": 64, "batch_size": 2, "device": CPU} | options))


def test_each_image_gets_its_prediction_in_its_own_size_and_place(photos):
    found = run(photos)
    assert [one.path for one in found] == photos
    for one, path in zip(found, photos, strict=True):
        image = Image.open(path).convert("RGB")
        assert one.train_ids.shape == one.confidence.shape == (image.height, image.width)
        assert one.train_ids.dtype == np.uint8
        pixels = np.asarray(image.resize((64, 32), Image.Resampling.BILINEAR)).astype(np.float32) / 32
        logits = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        logits = F.interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=False)[0]
        chosen = logits.gather(0, torch.from_numpy(one.train_ids).long()[None])[0]  # Of equals either may win.
        assert torch.allclose(chosen, logits.max(dim=0).values, atol=1e-4)
        assert np.allclose(one.confidence, logits.softmax(dim=0).max(dim=0).values.numpy(), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_batches_change_nothing(photos, batch_size):
    for one, two in zip(run(photos), run(photos, batch_size=batch_size), strict=True):
        assert np.array_equal(one.train_ids, two.train_ids)


def test_images_go_through_the_network_in_batches(photos):
    network = Channels()
    list(predict(network, photos, height=32, width=64, batch_size=2, device=CPU))
    assert network.batches == [(2, 3, 32, 64), (2, 3, 32, 64), (1, 3, 32, 64)]


def test_a_broken_image_is_named_and_the_others_keep_their_places(photos):
    photos[1].write_bytes(photos[1].read_bytes()[:100])
    photos[4].write_text("no image")
    kinds = [type(one) for one in run(photos)]
    assert kinds == [Prediction, Unreadable, Prediction, Prediction, Unreadable]
    assert str(photos[1]) in run(photos)[1].reason
    assert run(photos)[3].train_ids.shape == (96, 64)


def test_a_batch_of_broken_images_does_not_reach_the_network(photos):
    for path in photos[:2]:
        path.write_text("no image")
    network = Channels()
    found = list(predict(network, photos[:2], height=32, width=64, batch_size=2, device=CPU))
    assert network.batches == []
    assert all(isinstance(one, Unreadable) for one in found)


def test_no_image_no_prediction():
    assert run([]) == []
