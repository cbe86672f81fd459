"""PSNR and SSIM against loops written from the paper."""

import math

import pytest
import torch

from tests.references import image_quality as reference
from trainers.components.image_quality import psnr, ssim
from trainers.errors import UserError


def pair(height: int, width: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, noise = (torch.randint(0, 256, (2, 3, height, width), generator=generator) for _ in range(2))
    return images.to(torch.uint8), (0.7 * images + 0.3 * noise).round().to(torch.uint8)


def test_psnr_equals_the_loops():
    images, references = pair(5, 7)
    expected = [reference.psnr(one.tolist(), other.tolist()) for one, other in zip(images, references, strict=True)]
    assert psnr(images, references).tolist() == pytest.approx(expected, rel=1e-12)


def test_psnr_of_known_errors():
    black = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    shifted = black.clone()
    shifted[1], shifted[2] = 1, 255
    found = psnr(shifted, black).tolist()
    assert found[0] == math.inf
    assert found[1:] == pytest.approx([20 * math.log10(255), 0.0])


@pytest.mark.parametrize("size", [(11, 11), (13, 16)])
def test_ssim_equals_the_loops(size: tuple[int, int]):
    images, references = pair(*size)
    images[1] = images[1] // 8 + 100  # Little contrast, where the constants count.
    expected = [reference.ssim(one.tolist(), other.tolist()) for one, other in zip(images, references, strict=True)]
    assert ssim(images, references).tolist() == pytest.approx(expected, rel=1e-9)


def test_ssim_tells_structure_from_light():
    images, _ = pair(16, 16)
    assert ssim(images, images).tolist() == pytest.approx([1.0, 1.0])
    assert (ssim(images, 255 - images) < 0).all()
    brighter = ssim(images // 2 + 40, images // 2)
    assert ((brighter > 0.5) & (brighter < 1)).all()
    assert torch.equal(ssim(images, images // 2), ssim(images // 2, images))


def test_an_image_smaller_than_the_window_is_named():
    with pytest.raises(UserError, match="an image is 12×10; SSIM looks through a window of 11×11"):
        ssim(*pair(10, 12))
