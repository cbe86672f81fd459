"""UNIT's networks: sizes, shapes, what is shared, norms and scales."""

import torch
from torch import nn

from tests.references import translation as reference
from trainers.translation.configs import DiscriminatorConfig, GeneratorConfig
from trainers.translation.discriminators import MultiScaleDiscriminator
from trainers.translation.unit_networks import UNIT, LayerNorm


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_are_those_of_the_release():
    """A generator of master has 11 140 483 parameters, a discriminator of three scales 8 271 171."""
    encoder = 9_472 + 131_200 + 524_544 + 4 * 1_180_160
    decoder = 4 * 1_180_160 + 819_328 + 256 + 204_864 + 128 + 9_411
    apart = UNIT(GeneratorConfig(weight_sharing="none"))
    assert count(apart) == 2 * (encoder + decoder) == 2 * 11_140_483
    assert count(UNIT(GeneratorConfig())) == count(apart) - 2 * 1_180_160
    assert count(MultiScaleDiscriminator(DiscriminatorConfig())) == 8_271_171


def test_shapes_of_codes_images_and_patches():
    small = GeneratorConfig(width=8, blocks=1)
    network, images = UNIT(small), torch.rand(2, 3, 64, 128)
    assert network.encoders["source"](images).shape == (2, 32, 16, 32)
    assert network.translate(images, to="target").shape == images.shape
    assert network.translate(images, to="target").abs().max() <= 1
    maps = MultiScaleDiscriminator(DiscriminatorConfig(width=4))(images)
    assert [tuple(one.shape) for one in maps] == [(2, 1, 4, 8), (2, 1, 2, 4), (2, 1, 1, 2)]


def test_latent_sharing_shares_one_block_at_either_side_and_nothing_else():
    network = UNIT(GeneratorConfig(width=4, blocks=2))
    seen: dict[int, set[str]] = {}
    for part in ("encoders", "decoders"):
        for domain in ("source", "target"):
            for parameter in getattr(network, part)[domain].parameters():
                seen.setdefault(id(parameter), set()).add(f"{part} {domain}")
    shared = [where for where in seen.values() if len(where) == 2]
    assert len(shared) == 8  # Two blocks of two convolutions, each with weight and bias.
    assert {frozenset(where) for where in shared} == {
        frozenset({"encoders source", "encoders target"}), frozenset({"decoders source", "decoders target"})
    }  # fmt: skip
    assert network.encoders["source"][-1][-1] is network.encoders["target"][-1][-1]
    assert network.decoders["source"][0][0] is network.decoders["target"][0][0]


def test_the_layer_norm_is_the_release_s():
    norm, image = LayerNorm(3), torch.randn(2, 3, 4, 5) * 7 + 3
    nn.init.uniform_(norm.beta)
    expected = [reference.layer_normalized(one.tolist(), norm.gamma.tolist(), norm.beta.tolist()) for one in image]
    torch.testing.assert_close(norm(image).flatten(1), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_each_scale_sees_the_image_halved_once_more():
    network, images = MultiScaleDiscriminator(DiscriminatorConfig(width=4, layers=1)), torch.rand(1, 3, 16, 16)
    seen = []
    for scale in network.scales:
        scale.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    network(images)
    planes = [plane.tolist() for plane in images[0]]
    for one in seen:
        torch.testing.assert_close(one[0], torch.tensor(planes))
        planes = [reference.halved(plane) for plane in planes]
    assert len(seen) == 3
