"""Every encoder that is dilated: strides, dilations and outputs against the released networks, block by block."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from tests.references import networks as reference
from tests.trainers.networks.building import build
from trainers.components.configs import NetworkConfig
from trainers.components.networks import DILATED
from trainers.config import keyed

BLOCKS = (3, 4, 6, 3)
STRIDE_8 = [1] * 3 + [1] * 4 + [2] * 6 + [4] * 3
STRIDE_16 = [1] * 3 + [1] * 4 + [1] * 6 + [2] * 3
ENDS_AT_16 = ("DeepLabV3Plus", "PAN")


def bottlenecks(encoder: nn.Module) -> list[nn.Module]:
    inner = getattr(encoder, "model", encoder)
    return [block for stage in range(1, 5) for block in getattr(inner, f"layer{stage}")]


@pytest.mark.parametrize("architecture", DILATED)
@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50", "tu-resnet50s", "tu-seresnet50"])
def test_every_block_dilates_and_strides_as_released(architecture: str, encoder: str):
    with torch.device("meta"):
        blocks = bottlenecks(build(architecture=architecture, encoder=encoder).network.encoder)
    expected = STRIDE_16 if architecture in ENDS_AT_16 else STRIDE_8
    assert [block.conv2.dilation for block in blocks] == [(rate, rate) for rate in expected]
    assert [block.conv2.padding for block in blocks] == [(rate, rate) for rate in expected]
    last = 3 + 4 + 6 if architecture in ENDS_AT_16 else 3 + 4
    strided = [3, 7] if architecture in ENDS_AT_16 else [3]
    strides = [block.conv1.stride[0] * block.conv2.stride[0] for block in blocks]
    assert [number for number, stride in enumerate(strides) if stride == 2] == strided
    assert all(stride == 1 for stride in strides[last:])


def shaken(segmenter: nn.Module) -> nn.Module:
    """Norms that are not those of a fresh network, in evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return segmenter.eval()


@pytest.mark.parametrize("architecture", ["pspnet", "deeplabv2"])
@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50s"])
def test_the_features_of_each_stage_are_the_released_network_s(architecture: str, encoder: str):
    network = shaken(build(architecture=architecture, encoder=encoder)).network.double()
    inner = getattr(network.encoder, "model", network.encoder)
    pooled: list[torch.Tensor] = []
    inner.maxpool.register_forward_hook(lambda module, images, features: pooled.append(features))
    images = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        ours = network.encoder(images)[2:]
        expected = reference.released_stages(
            pooled[0], inner.state_dict(), blocks=BLOCKS, output_stride=8, caffe=architecture == "deeplabv2"
        )
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18", "tu-resnet50s"])
def test_caffe_s_pooling_rounds_up_in_every_encoder(encoder: str):
    network = build(architecture="deeplabv2", encoder=encoder).network.eval()
    with torch.no_grad():
        assert network.encoder(torch.zeros(1, 3, 64, 64))[5].shape[-2:] == (9, 9)


@pytest.mark.parametrize("encoder", ["timm-skresnet18", "tu-skresnet18"])
def test_the_paths_of_a_selective_kernel_keep_their_ratio(encoder: str):
    with torch.device("meta"):
        blocks = bottlenecks(build(architecture="pspnet", encoder=encoder).network.encoder)
    assert [[path.conv.dilation[0] for path in block.conv1.paths] for block in blocks] == [
        [rate, 2 * rate] for rate in (1, 1, 1, 1, 2, 2, 4, 4)
    ]


@pytest.mark.parametrize(
    "encoder",
    ["resnet18", "resnext50_32x4d", "se_resnet50", "efficientnet-b0", "timm-efficientnet-b0", "mobilenet_v2", "dpn68",
     "mobileone_s0", "tu-efficientnet_b0", "tu-tf_efficientnet_b0", "tu-regnety_002", "tu-xception41",
     "tu-mobilenetv3_small_100"],
)  # fmt: skip
def test_one_rule_dilates_the_convolutions_of_all_encoders(encoder: str):
    """Each odd kernel by how much its output's stride exceeds 8, seen in the encoder that is not dilated."""
    with torch.device("meta"):
        whole = smp.encoders.get_encoder(encoder, weights=None).eval()
        dilated = build(architecture="pspnet", encoder=encoder).network.encoder
    strides = {}
    for name, module in whole.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda one, images, features, name=name: strides.__setitem__(name, 128 // features.shape[-1])
            )
    whole(torch.empty(1, 3, 128, 128, device="meta"))
    wide = {
        name: module.dilation[0]
        for name, module in dilated.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] in (3, 5, 7) and name in strides
    }
    assert wide == {name: max(1, strides[name] // 8) for name in wide}
    assert {1, 2, 4} == set(wide.values())


def test_caffe_strides_are_moved_in_timm_s_bottlenecks_too():
    with torch.device("meta"):
        blocks = bottlenecks(build(encoder="tu-resnet50", normalization="caffe").network.encoder)
    assert [(block.conv1.stride[0], block.conv2.stride[0]) for block in (blocks[3], blocks[7], blocks[13])] == [
        (2, 1)
    ] * 3


@pytest.mark.parametrize(
    ("fields", "moved"),
    [
        ({"architecture": "pspnet", "encoder": "tu-resnet50s"}, True),
        ({"architecture": "deeplabv2", "encoder": "tu-resnet50"}, True),
        ({"architecture": "DeepLabV3", "encoder": "efficientnet-b0"}, True),
        ({"architecture": "PAN", "encoder": "timm-skresnet18"}, True),
        ({"encoder": "tu-resnet50", "normalization": "caffe"}, True),
        ({"architecture": "pspnet", "encoder": "resnet50"}, False),
        ({"architecture": "deeplabv2", "encoder": "timm-efficientnet-b0"}, False),
        ({"encoder": "tu-resnet50"}, False),
        ({"architecture": "PSPNet", "encoder": "tu-resnet50"}, False),
        ({}, False),
    ],
)
def test_keys_move_where_numbers_did_and_nowhere_else(fields: dict[str, str], moved: bool):
    config = NetworkConfig(**fields)
    assert bool({"dilation", "strides"} & keyed(config).keys()) == moved
