import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import fourier as reference
from trainers.components import fourier
from trainers.components.fourier import transfer_style, window_radius
from trainers.errors import UserError

SIZES = [(64, 128), (63, 127), (64, 127), (33, 64), (40, 40), (41, 41)]


def noise(height: int, width: int, seed: int = 0, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, height, width)).astype(np.float64)


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(array, dtype=dtype) for array in arrays]


@pytest.mark.parametrize("beta", [0.04, 0.1, 0.3, 0.5])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_ways_equal_the_reference_in_float64(height: int, width: int, beta: float):
    source, target = noise(height, width), noise(height, width, seed=1)
    expected = reference.transfer(source, target, beta)
    assert np.abs(expected.imag).max() < 1e-11
    radius = window_radius(beta, height=height, width=width)
    ways = [fourier._by_full_transforms]
    if 2 * radius + 1 <= min(height, width):
        ways.append(fourier._by_window)
    for way in ways:
        found = way(*tensors(source, target), radius).numpy()
        np.testing.assert_allclose(found, expected.real, rtol=0, atol=1e-6 * np.abs(expected).max())
    found = transfer_style(*tensors(source, target), beta).numpy()
    np.testing.assert_allclose(found, expected.real, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_the_reference_would_tell_the_corner_window_of_the_released_training():
    """So the test above can fail: another window, an imaginary part of several grey levels."""
    source, target = noise(64, 128), noise(64, 128, seed=1)
    corners = reference.transfer_corners(source, target, 0.05)
    assert np.abs(corners.imag).max() > 1
    assert np.abs(corners.real - reference.transfer(source, target, 0.05).real).max() > 1


@pytest.mark.parametrize("beta", [0.01, 0.05, 0.09])
def test_float32_is_within_5e_3_grey_levels(beta: float):
    source, target = noise(128, 256, count=1), noise(128, 256, seed=1, count=1)
    found = transfer_style(*tensors(source, target, dtype=torch.float32), beta).double().numpy()
    assert np.abs(found - reference.transfer(source, target, beta).real).max() < 5e-3


def test_an_image_with_itself_stays_the_same():
    (image,) = tensors(noise(64, 128), dtype=torch.float32)
    torch.testing.assert_close(transfer_style(image, image, 0.1), image, rtol=0, atol=1e-3)


def test_the_phase_is_the_source_s():
    source, target = tensors(noise(64, 128), noise(64, 128, seed=1))
    before, after = torch.fft.fft2(source), torch.fft.fft2(transfer_style(source, target, 0.1))
    is_something = (before.abs() > 1e-3) & (after.abs() > 1e-3)
    turned = torch.view_as_real(after * before.conj() / (after.abs() * before.abs()).clamp_min(1e-12))
    torch.testing.assert_close(turned[is_something][:, 0], torch.ones(int(is_something.sum())).double())


def test_at_half_of_a_square_image_the_amplitude_is_the_target_s():
    source, target = tensors(noise(40, 40), noise(40, 40, seed=1))
    amplitude = torch.fft.fft2(transfer_style(source, target, 0.5)).abs()
    torch.testing.assert_close(amplitude, torch.fft.fft2(target).abs(), rtol=1e-9, atol=1e-6)


def test_the_mean_color_is_the_target_s_and_values_leave_0_to_255():
    source, target = tensors(noise(64, 128), noise(64, 128, seed=1) * 0.3)
    found = transfer_style(source, target, 0.05)
    torch.testing.assert_close(found.mean(dim=(2, 3)), target.mean(dim=(2, 3)))
    assert found.min() < 0


def test_a_constant_target_removes_the_source_s_low_frequencies():
    (source,) = tensors(noise(64, 128))
    found = transfer_style(source, torch.full_like(source, 77), 0.05)
    spectrum = torch.fft.fft2(found)
    torch.testing.assert_close(found.mean(dim=(2, 3)), torch.full((2, 3), 77.0).double())
    low = torch.cat([spectrum[..., :4, 1:4].flatten(), spectrum[..., -3:, :4].flatten()])
    assert low.abs().max() < 1e-8
    assert spectrum[..., 5:20, 5:20].abs().min() > 1


def test_a_source_without_amplitude_takes_phase_0():
    source, target = torch.zeros(1, 3, 64, 64).double(), torch.full((1, 3, 64, 64), 9.0).double()
    torch.testing.assert_close(transfer_style(source, target, 0.05), target)


@pytest.mark.parametrize(("size", "beta", "radius"), [((512, 1024), 0.01, 5), ((512, 1024), 0.09, 46),
                                                      ((720, 1280), 0.05, 36), ((256, 512), 0.01, 2)])  # fmt: skip
def test_the_published_windows(size: tuple[int, int], beta: float, radius: int):
    assert window_radius(beta, height=size[0], width=size[1]) == radius


@pytest.mark.parametrize("side", range(32, 700, 7))
def test_an_empty_window_is_refused_with_the_smallest_beta_that_works(side: int):
    with pytest.raises(UserError, match=f"empty window at {side}×2000") as error:
        window_radius(0.9 / side, height=side, width=2000)
    smallest = float(str(error.value).rsplit(" ", 1)[1])
    assert window_radius(smallest, height=side, width=2000) == 1
    assert smallest < 1 / side + 2e-4


def test_images_of_different_sizes_are_refused():
    with pytest.raises(UserError, match="source images are 64×128 and target images are 64×64"):
        transfer_style(torch.zeros(1, 3, 64, 128), torch.zeros(1, 3, 64, 64), 0.1)
