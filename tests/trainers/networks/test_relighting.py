"""Relighting networks against a slow reference, and the segmenter behind them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import pairs as reference
from trainers.components.configs import NetworkConfig, RelightingConfig
from trainers.networks.output_discriminator import OutputDiscriminator
from trainers.networks.relighting import (
    HIGHEST,
    LOWEST,
    CurveRelighting,
    RelitSegmenter,
    ResNetRelighting,
    with_relighting,
)
from trainers.networks.segmentation import Segmenter, build_segmenter


def images(height: int = 32, width: int = 64) -> Tensor:
    return torch.tensor(np.random.default_rng(0).integers(0, 256, (2, 3, height, width)), dtype=torch.uint8)


def relit(kind: str, architecture: str = "FPN", **network: object) -> RelitSegmenter:
    torch.manual_seed(0)
    segmenter = build_segmenter(NetworkConfig(architecture=architecture, **network), pretrained=False)
    found = with_relighting(segmenter, RelightingConfig(kind=kind, width=8)).eval()
    assert isinstance(found, RelitSegmenter)
    return found


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_those_of_the_released_networks():
    """Counted by hand: convolutions with the release's widths; its norms have a weight and a bias each."""
    assert parameters(CurveRelighting(32)) == 79_416  # Zero-DCE's own number.
    norms = 2 * (64 + 128 + 256 + 6 * 256 + 128 + 64)
    convolutions = 3 * 64 * 49 + 9 * (64 * 128 + 128 * 256 + 6 * 256**2 + 256 * 128 + 128 * 64) + 64 * 3 * 49 + 3
    assert parameters(ResNetRelighting(64)) == convolutions + norms
    inputs = (19, 64, 128, 256, 256)
    outputs = (64, 128, 256, 256, 1)
    assert parameters(OutputDiscriminator()) == sum(
        16 * one * two + two for one, two in zip(inputs, outputs, strict=True)
    )


def test_the_published_widths_are_the_defaults():
    assert (RelightingConfig().channels(), RelightingConfig(kind="curves").channels()) == (64, 32)


def test_a_discriminator_keeps_a_cell_of_the_smallest_image():
    assert OutputDiscriminator(4)(torch.rand(1, 19, 16, 64)).shape == (1, 1, 1, 13)


def test_curves_equal_the_reference():
    torch.manual_seed(0)
    network = CurveRelighting(4).double()
    with torch.no_grad():
        network.last.weight *= 30  # Curves of all sizes, so that the clamp works at both ends.
        normalized = torch.randn(1, 3, 6, 8, dtype=torch.float64) * 1.5
        curves = network.curves(normalized).float().double().view(1, 8, 3, 6, 8)
        found, saturated = network(normalized)
    for channel, y, x in np.ndindex(3, 6, 8):
        expected = reference.curved(float(normalized[0, channel, y, x]), curves[0, :, channel, y, x].tolist())
        assert float(found[0, channel, y, x]) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert 0 < float(saturated) < 1
    assert curves.abs().max() <= 1


def test_without_the_clamp_curves_would_leave_every_range():
    """What the release's issue 9 met: eight times x² of normalized values."""
    value = 2.6
    for _ in range(7):
        value = value - 1.0 * (value * value - value)
    assert abs(value) > 1e6
    assert LOWEST <= reference.curved(2.6, [-1.0] * 7 + [0.0]) <= HIGHEST


@pytest.mark.parametrize("kind", ["resnet", "curves"])
def test_what_is_added_is_what_the_image_gains(kind: str):
    segmenter = relit(kind)
    found = segmenter.relight(images())
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
    torch.testing.assert_close((found.images - images().float()) / std, found.residual, rtol=1e-4, atol=1e-4)
    assert found.residual.abs().max() > 0
    assert found.residual.dtype == torch.float32
    torch.testing.assert_close(segmenter(images()), Segmenter.forward(segmenter, found.images))
    torch.testing.assert_close(segmenter.segment(images()), Segmenter.forward(segmenter, images()))


def test_resnet_takes_sides_that_are_no_multiples_of_four():
    found, saturated = ResNetRelighting(4).eval()(torch.randn(1, 3, 33, 62))
    assert found.shape == (1, 3, 33, 62)
    assert found.abs().max() < 1
    assert float(saturated) == 0


def test_a_saturated_tanh_is_told():
    network = ResNetRelighting(4).eval()
    with torch.no_grad():
        network.layers[-2].bias.fill_(50.0)
    assert float(network(torch.randn(1, 3, 32, 32)).saturated) == 1


def test_the_segmenter_s_own_normalization_stays_its_own():
    """Relighting sees RGB / std whatever the segmenter behind it takes."""
    segmenter = relit("curves", architecture="deeplabv2", encoder="resnet18")
    assert segmenter.is_bgr
    plain = build_segmenter(NetworkConfig(architecture="deeplabv2", encoder="resnet18"), pretrained=False)
    torch.testing.assert_close(segmenter.normalize(images()), plain.normalize(images()))
    normalized = segmenter.relight(images()).normalized
    assert normalized.min() > -2.2
    assert normalized.max() < 2.7


def test_weights_are_the_segmenter_s_and_the_relighting_s():
    segmenter = relit("resnet")
    plain = build_segmenter(NetworkConfig(), pretrained=False)
    names = set(segmenter.state_dict())
    assert names - {name for name in names if name.startswith("relighting.")} == set(plain.state_dict())
    relighting = {id(parameter) for parameter in segmenter.relighting.parameters()}
    assert relighting < {id(parameter) for parameter in segmenter.encoder_parameters()}
    assert not relighting & {id(parameter) for parameter in segmenter.head_parameters()}


def test_none_leaves_the_segmenter_as_it_is():
    plain = build_segmenter(NetworkConfig(), pretrained=False)
    assert with_relighting(plain, RelightingConfig(kind="none")) is plain
    assert with_relighting(plain, None) is plain
