import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from trainers.components.perturbation import blur, hide_patches, jitter, jitter_and_blur

ALL = {"strength": 0.25, "jitter_probability": 1.0, "blur_probability": 1.0}
NONE = {"strength": 0.25, "jitter_probability": 0.0, "blur_probability": 0.0}


def images(count: int = 4) -> Tensor:
    return torch.tensor(np.random.default_rng(0).integers(0, 256, (count, 3, 32, 64)), dtype=torch.float32)


def generators(count: int = 4, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, number]) for number in range(count)]


def test_without_noise_nothing_changes():
    torch.testing.assert_close(jitter_and_blur(images(), generators(), **NONE), images())
    torch.testing.assert_close(jitter(images()[0] / 255, 0.0, 0.0, 0.0, 0.0), images()[0] / 255, rtol=0, atol=1e-5)


def test_every_image_has_numbers_of_its_own_whatever_the_batch():
    together = jitter_and_blur(images(), generators(), **ALL)
    assert together.shape == images().shape
    assert together.min() >= 0
    assert together.max() <= 255.01
    alone = jitter_and_blur(images()[[2]], generators()[2:3], **ALL)
    torch.testing.assert_close(together[[2]], alone)
    same_image = images()[[0, 0]]
    a, b = jitter_and_blur(same_image, generators(2), **ALL)
    assert (a - b).abs().mean() > 1


def test_about_as_many_images_are_disturbed_as_asked_for():
    image = images(1).expand(200, -1, -1, -1)
    settings = {"strength": 0.25, "jitter_probability": 0.8, "blur_probability": 0.0}
    found = jitter_and_blur(image, generators(200), **settings)
    disturbed = (found - image).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 140 < int(disturbed.sum()) < 180


def test_jitter_follows_the_definitions():
    """Brightness, contrast and saturation scale about black, the mean grey and each pixel's grey; hue turns."""
    image = torch.tensor([[[0.2, 0.4]], [[0.3, 0.1]], [[0.1, 0.3]]])
    torch.testing.assert_close(jitter(image, 0.1, 0.0, 0.0, 0.0), image * 1.1)
    grey = (image * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(dim=0)
    torch.testing.assert_close(jitter(image, 0.0, 0.2, 0.0, 0.0), image * 1.2 - grey.mean() * 0.2, rtol=0, atol=1e-3)
    torch.testing.assert_close(jitter(image, 0.0, 0.0, -0.3, 0.0), image * 0.7 + grey * 0.3, rtol=0, atol=1e-3)
    hue, saturation, value = colorsys.rgb_to_hsv(*image[:, 0, 0].tolist())
    expected = colorsys.hsv_to_rgb((hue + 0.25) % 1, saturation, value)
    assert jitter(image, 0.0, 0.0, 0.0, 0.25)[:, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(32, 64), (33, 47), (64, 64), (512, 512)])
def test_blur_takes_every_size_and_keeps_the_mean(size: tuple[int, int]):
    image = torch.rand(3, *size)
    blurred = blur(image, 1.15)
    assert blurred.shape == image.shape
    assert float(blurred.std()) < 0.7 * float(image.std())
    assert float(blurred.mean()) == pytest.approx(float(image.mean()), abs=0.01)


def test_whole_patches_are_hidden_about_as_many_as_asked_for():
    fill = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    image = torch.full((16, 3, 32, 60), 200.0)
    hidden = hide_patches(image, generators(16), ratio=0.7, patch=8, fill=fill)
    assert hidden.shape == image.shape
    is_hidden = hidden[:, 0] == 1
    assert (hidden[:, 1][is_hidden] == 2).all()
    assert (hidden[:, :, :][~is_hidden[:, None].expand_as(hidden)] == 200).all()
    patches = is_hidden[:, :, :56].unfold(1, 8, 8).unfold(2, 8, 8).float().mean(dim=(3, 4))
    assert set(patches.unique().tolist()) == {0.0, 1.0}
    assert 0.62 < float(patches.mean()) < 0.78
    assert not torch.equal(is_hidden[0], is_hidden[1])
