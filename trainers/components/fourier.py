"""Style transfer in the Fourier domain: the low frequencies' amplitudes of one image, the phases of another.

Shape legend: n images, h height, w width (th and tw those of a target, which must be the same), r rows and k columns
of the half window that is swapped. Images hold raw pixel values in 0…255; results may leave that range and are not
clipped.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from trainers.errors import UserError

PRODUCT_MAX_RADIUS = 20
"""Up to this radius a matrix product beats a transform of each row of pixels on a CPU; see tests/benchmarks/fourier."""

PARTIAL_MAX_SHARE = 0.25
"""Up to this share of the rows it is worth computing the window's frequencies alone."""

Images = Float[Tensor, "n 3 h w"]
HalfWindow = Complex[Tensor, "n 3 r k"]


def window_radius(beta: float, *, height: int, width: int) -> int:
    """b = floor(min(height, width) · beta): frequencies -b … b of both axes are swapped.

    Raises:
        UserError: b is 0, so that no frequency but the mean color would be swapped.
    """
    side = min(height, width)
    radius = math.floor(side * beta)
    if radius < 1:
        smallest = math.ceil(10_000 / side) / 10_000
        raise UserError(
            f"beta {beta:g} gives an empty window at {height}×{width} (floor({side} · {beta:g}) = 0); the smallest "
            f"beta that works there is {smallest:g}"
        )
    return radius


def transfer_style(source: Images, target: Float[Tensor, "n 3 th tw"], beta: float) -> Images:
    """``source`` with the low-frequency amplitudes of ``target``, per image and color channel.

    F^-1([M A(target) + (1 - M) A(source)] e^(i P(source))): A amplitude, P phase, M the (2b + 1)² frequencies around
    the mean. Every size works, odd and even; where the source has no amplitude its phase counts as 0.

    Args:
        source, target: raw pixels in float32 or float64, on one device.
        beta: half width of the window as a share of the shorter side, in (0, .5].

    Raises:
        UserError: the sizes differ, or the window is empty at this size.

    Source: Yang and Soatto, FDA, eq. 3-4; YanchaoYang/FDA, utils/__init__.py (the NumPy form).
    Differs: the released training calls a second, un-shifted form that swaps 2b × 2b frequencies, -b … b - 1; that is
        not symmetric, so part of the result is imaginary and lost.
    """
    if source.shape != target.shape:
        raise UserError(
            f"source images are {source.shape[-2]}×{source.shape[-1]} and target images are "
            f"{target.shape[-2]}×{target.shape[-1]}; give both one size after cropping"
        )
    height, width = source.shape[-2:]
    radius = window_radius(beta, height=height, width=width)
    if radius <= PARTIAL_MAX_SHARE * min(height, width):
        with _whole_float32():
            return _by_window(source, target, radius)
    return _by_full_transforms(source, target, radius)


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """Without tensor cores' ten bits of mantissa, which a training may allow: they cost .05 grey levels here."""
    products = torch.backends.cuda.matmul
    allowed, products.allow_tf32 = products.allow_tf32, False
    try:
        yield
    finally:
        products.allow_tf32 = allowed


def _swap_amplitude(source: HalfWindow, target: HalfWindow) -> HalfWindow:
    """The target's amplitude with the source's phase."""
    amplitude = source.abs()
    scale = target.abs() / amplitude.where(amplitude > 0, 1)
    return torch.where(amplitude > 0, source * scale, target.abs().to(source.dtype))


def _by_full_transforms(source: Images, target: Images, radius: int) -> Images:
    """Half spectra: of a real image's frequencies (r, -k) and (-r, k) hold the same."""
    height, width = source.shape[-2:]
    spectrum, other = torch.fft.rfft2(source), torch.fft.rfft2(target)
    columns = slice(0, min(radius, width // 2) + 1)
    for rows in _window_rows(radius, height):
        spectrum[..., rows, columns] = _swap_amplitude(spectrum[..., rows, columns], other[..., rows, columns])
    return torch.fft.irfft2(spectrum, s=(height, width))


def _window_rows(radius: int, height: int) -> list[slice]:
    """Rows 0 … radius, and -radius … -1, which stand at the end."""
    top = min(radius, height // 2)
    return [slice(0, top + 1), slice(max(top + 1, height - radius), height)]


def _by_window(source: Images, target: Images, radius: int) -> Images:
    """Only the window's frequencies are computed, and only their change is transformed back.

    Along the rows of pixels by a matrix product where the window is narrow, else by a transform of which the rest is
    dropped; across them always by a product, which has few columns left to do.
    """
    height, width = source.shape[-2:]
    down = _waves(torch.arange(-radius, radius + 1, device=source.device), height, source.dtype)
    window = down @ _low_columns(source, radius)
    change = _swap_amplitude(window, down @ _low_columns(target, radius)) - window
    across = down.mH @ change / height
    if radius > PRODUCT_MAX_RADIUS:
        return source + torch.fft.irfft(across, n=width)
    along = _stacked_waves(radius, width, source) / width
    # Each column k > 0 stands for its mirror image too. The real part of across · conj(along).
    along[1 : radius + 1] *= 2
    along[radius + 2 :] *= 2
    stacked = torch.cat([across.real, across.imag], dim=-1)
    rows = torch.addmm(source.reshape(-1, width), stacked.reshape(-1, 2 * radius + 2), along)
    return rows.view_as(source)


def _low_columns(images: Images, radius: int) -> HalfWindow:
    """The DFT of each row of pixels at the frequencies 0 … radius."""
    if radius > PRODUCT_MAX_RADIUS:
        return torch.fft.rfft(images)[..., : radius + 1]
    real, imaginary = (images @ _stacked_waves(radius, images.shape[-1], images).mT).chunk(2, dim=-1)
    return torch.complex(real, imaginary)


def _stacked_waves(radius: int, width: int, like: Tensor) -> Float[Tensor, "f l"]:
    """Real parts, then imaginary parts of the waves 0 … radius."""
    waves = _waves(torch.arange(radius + 1, device=like.device), width, like.dtype)
    return torch.cat([waves.real, waves.imag], dim=0)


def _waves(frequencies: Tensor, length: int, dtype: torch.dtype) -> Complex[Tensor, "f l"]:
    """e^(-2 pi i f x / length). The product f x is reduced as an integer, so that no angle is large."""
    turns = (frequencies[:, None] * torch.arange(length, device=frequencies.device)) % length
    angles = turns.double() * (-2 * math.pi / length)
    return torch.complex(angles.cos().to(dtype), angles.sin().to(dtype))
