"""Our own networks, and every one of the library: shapes, gradients, counts, and forward passes written out anew."""

from functools import cache

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from tests.references import networks as reference
from trainers.components.configs import NetworkConfig
from trainers.components.networks import ARCHITECTURES, AUXILIARY_WEIGHTS, OWN
from trainers.errors import UserError
from trainers.networks.segmentation import LEAST_PIXELS, Segmenter, build_segmenter, check_network, check_single_image


def build(architecture: str, **fields: object) -> Segmenter:
    torch.manual_seed(0)
    if architecture == "DPT":
        fields |= {"encoder": "tu-vit_tiny_patch16_224"}
    return build_segmenter(NetworkConfig(architecture=architecture, **fields), pretrained=False)


@cache
def trained(architecture: str) -> Segmenter:
    """Running statistics and norms that are not those of a fresh network, in evaluation mode."""
    segmenter = build(architecture)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return segmenter.eval()


def pictures(n: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("architecture", OWN)
def test_every_parameter_gets_a_gradient_at_an_odd_size(architecture: str):
    segmenter = build(architecture).train()
    logits = segmenter(pictures(4, 45, 71), auxiliary=True)
    assert [tuple(one.shape) for one in logits] == [(4, 19, 45, 71)] * len(logits)
    assert (len(logits) > 1) == (architecture in AUXILIARY_WEIGHTS)
    labels = torch.randint(19, (4, 45, 71))
    sum(nn.functional.cross_entropy(one, labels) for one in logits).backward()
    without = [name for name, value in segmenter.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in OWN])
def test_networks_of_the_library_train_on_multiples_of_their_stride(architecture: str):
    segmenter, least = build(architecture).train(), LEAST_PIXELS.get(architecture, 64)
    (logits,) = segmenter(pictures(2, least, least), auxiliary=True)
    assert logits.shape == (2, 19, least, least)
    logits.square().mean().backward()
    assert not [name for name, value in segmenter.named_parameters() if value.requires_grad and value.grad is None]
    encoder = "tu-vit_tiny_patch16_224" if architecture == "DPT" else "resnet18"
    for pixels in (least + 3, least - 3):
        with pytest.raises(UserError, match=f"height {pixels} is not a multiple of .* the nearest is {least}"):
            check_network(NetworkConfig(architecture=architecture, encoder=encoder), height=pixels, width=128)


@pytest.mark.parametrize("architecture", OWN)
def test_heads_change_nothing_and_the_state_dict_goes_out_and_in(architecture: str):
    segmenter, images = trained(architecture), pictures(1, 33, 65)
    with torch.no_grad():
        logits = segmenter(images)
        torch.testing.assert_close(segmenter(images, auxiliary=True)[0], logits)
        other = build(architecture).eval()
        assert not torch.equal(other(images), logits)
        other.load_state_dict(segmenter.state_dict())
        assert torch.equal(other(images), logits)


SINGLE = {"bisenet", "bisenet_original", "pspnet"}


@pytest.mark.parametrize("architecture", OWN)
def test_one_image_is_refused_where_a_batch_norm_sees_one_value(architecture: str):
    config = NetworkConfig(architecture=architecture)
    if architecture not in SINGLE:
        check_single_image(config, height=65, width=97)
        build(architecture).train()(pictures(1, 65, 97)).mean().backward()
        return
    for refusing in (
        lambda: check_single_image(config, height=64, width=96),
        lambda: build(architecture).train()(pictures(1, 64, 96)),
    ):
        with pytest.raises(UserError, match=r"cannot train on one image of 64×96: .* two images or more") as error:
            refusing()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("pixels", [1, 31])
def test_a_size_that_no_encoder_takes_is_answered_with_the_least(pixels: int):
    with pytest.raises(UserError, match=f"width {pixels} is less than 32; the nearest is 32"):
        check_network(NetworkConfig(architecture="bisenet"), height=33, width=pixels)


# Counts, by hand: weights of convolutions, 2 per channel of a norm, biases. A ResNet-18 without its classifier has
# 11 176 512 parameters, a ResNet-101 42 500 160 (torchvision's 11 689 512 and 44 549 160 less their classifiers).
RESNET_18, RESNET_101 = 11_689_512 - 513_000, 44_549_160 - 2_049_000


def block(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + 2 * outputs


def bisenet_original() -> int:
    spatial = block(3, 64, 7) + 2 * block(64, 64, 3) + block(64, 128, 1)
    attention = block(256, 128, 3) + block(512, 128, 3) + 2 * block(128, 128, 1)
    context = block(512, 128, 1) + attention + 2 * block(128, 128, 3)
    fusion = block(256, 256, 1) + 2 * 256 * 256
    heads = block(256, 64, 3) + 65 * 19 + 2 * (block(128, 256, 3) + 257 * 19)
    return RESNET_18 + spatial + context + fusion + heads


def pspnet() -> int:
    """hszhao/semseg: three 3×3 convolutions as stem, of which the last has 128 channels."""
    stem = block(3, 64, 3) + block(64, 64, 3) + block(64, 128, 3) - block(3, 64, 7)
    wider = 64 * 64 + 64 * 256  # The first block's 1×1 convolutions see 128 channels instead of 64.
    heads = block(4096, 512, 3) + 513 * 19 + block(1024, 256, 3) + 257 * 19
    return RESNET_101 + stem + wider + 4 * block(2048, 512, 1) + heads


def panoptic_fpn() -> int:
    """detectron2's FPN and SemSegFPNHead."""
    pyramid = (256 + 512 + 1024 + 2048 + 4) * 256 + 4 * (256 * 256 * 9 + 256)
    branches = 4 * block(256, 128, 3) + 3 * block(128, 128, 3)
    return RESNET_101 + pyramid + branches + 129 * 19


@pytest.mark.parametrize(
    ("architecture", "encoder", "parameters"),
    [
        ("bisenet", "resnet18", 12_068_672),
        ("bisenet_original", "resnet18", bisenet_original()),
        ("pspnet", "tu-resnet101s", pspnet()),
        ("panoptic_fpn", "resnet101", panoptic_fpn()),
        ("deeplabv2", "resnet101", 43_901_068),
    ],
)
def test_parameters_are_those_of_the_published_networks(architecture: str, encoder: str, parameters: int):
    with torch.device("meta"):
        segmenter = build(architecture, encoder=encoder)
    assert sum(one.numel() for one in segmenter.parameters()) == parameters


def test_deeplabv2_s_features_round_up_and_its_branches_add():
    with torch.device("meta"):
        segmenter = build("deeplabv2").eval()
        features = segmenter.network.encoder(torch.empty(1, 3, 512, 1024))[-1]
    assert features.shape == (1, 512, 65, 129)
    network = build("deeplabv2", rates=(2, 5)).network
    state = network.state_dict()
    weights = [
        (state[f"classifiers.{number}.weight"], state[f"classifiers.{number}.bias"], rate)
        for number, rate in enumerate((2, 5))
    ]
    features = torch.randn(2, 512, 7, 9)
    expected = reference.dilated_sum(features, weights)
    torch.testing.assert_close(network.features_to_logits(features), expected, rtol=1e-4, atol=1e-4)
    assert len(build("deeplabv2").network.classifiers) == 4


def test_bisenet_is_the_report_s():
    network, images = trained("bisenet").network, torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        at_16, at_32 = network.encoder(images)[4:]
        expected = reference.bisenet(images, at_16, at_32, network.state_dict())
        found = network(images, auxiliary=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_panoptic_fpn_is_the_paper_s():
    network, images = trained("panoptic_fpn").network, torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = reference.panoptic_fpn(network.encoder(images)[2:], network.state_dict())
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-3)


def test_pspnet_sees_the_mean_of_the_whole_image():
    """A change in one corner reaches every pixel through the coarsest grid, and only through the grids."""
    network = trained("pspnet").network
    features = torch.randn(1, 512, 8, 12)
    changed = features.clone()
    changed[:, :, 0, 0] += 10
    far = []
    for grid, level in zip((1, 2, 3, 6), network.pyramid, strict=True):
        before, after = (level(nn.functional.adaptive_avg_pool2d(one, grid)) for one in (features, changed))
        far.append((after - before)[0, :, -1, -1].abs().max().item())
    assert far[0] > 0
    assert far[1:] == [0, 0, 0]


@pytest.mark.parametrize("architecture", ["deeplabv2", "pspnet"])
def test_the_dilated_stages_keep_the_resolution(architecture: str):
    encoder = build(architecture).network.encoder
    assert [block.conv2.dilation[0] for block in (*encoder.layer3, *encoder.layer4)] == [2, 2, 4, 4]
    assert encoder(torch.zeros(1, 3, 64, 64))[5].shape[-1] in (8, 9)


def test_caffe_images_are_bgr_less_their_mean():
    segmenter = build("FPN", normalization="caffe").eval()
    seen: list[torch.Tensor] = []
    segmenter.network.encoder.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = pictures(1, 32, 32)
    segmenter(images)
    red, green, blue = images[0].float()
    expected = torch.stack([blue - 104.007, green - 116.669, red - 122.679])[None]
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("family", "in_first"), [("caffe", True), ("imagenet", False)])
def test_caffe_weights_have_the_stride_in_the_first_convolution(family: str, in_first: bool):
    with torch.device("meta"):
        encoder = build("panoptic_fpn", encoder="resnet50", normalization=family).network.encoder
    block = encoder.layer2[0]
    assert isinstance(block, Bottleneck)
    assert (block.conv1.stride, block.conv2.stride) == (((2, 2), (1, 1)) if in_first else ((1, 1), (2, 2)))


def test_deeplabv2_is_built_for_caffe_s_weights_unless_others_are_named():
    assert NetworkConfig(architecture="deeplabv2").family() == "caffe"
    assert NetworkConfig(architecture="deeplabv2", weights="imagenet").family() == "imagenet"
    assert NetworkConfig(architecture="deeplabv2", normalization="imagenet").family() == "imagenet"
    assert NetworkConfig(architecture="bisenet").family() == "imagenet"
