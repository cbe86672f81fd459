import inspect

import pytest
import segmentation_models_pytorch as smp
import torch

from tests.trainers.networks.building import build, one_line, same_weights
from trainers.components.configs import NetworkConfig
from trainers.components.networks import ARCHITECTURES, DEFAULT_RATES, DROPOUT_OPTIONS, ENCODERS, NORMALIZATIONS, OWN
from trainers.errors import UserError
from trainers.networks.segmentation import (
    NETWORKS,
    Segmenter,
    check_network,
    check_size,
    failure_at,
    freeze_batch_norm,
    shapes_alone,
)
from trainers.segmentation import supervised
from trainers.segmentation.supervised_config import Config


def test_the_list_of_architectures_is_the_library_s():
    offered = {kind.__name__ for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    assert set(ARCHITECTURES) == offered | set(OWN)
    assert tuple(NETWORKS) == OWN


def test_the_list_of_encoders_is_the_library_s():
    assert list(ENCODERS) == sorted(smp.encoders.encoders)


def test_dropout_is_offered_where_the_library_has_it_and_called_what_it_calls_it():
    named = {
        kind.__name__: [name for name in inspect.signature(kind).parameters if "dropout" in name]
        for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()
    }
    assert {name: options for name, options in named.items() if options} == {
        name: [option] for name, option in DROPOUT_OPTIONS.items() if name not in OWN
    }


def test_rates_are_offered_where_the_library_has_them_with_its_defaults():
    named = {
        kind.__name__: inspect.signature(kind).parameters["decoder_atrous_rates"].default
        for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()
        if "decoder_atrous_rates" in inspect.signature(kind).parameters
    }
    assert {name: tuple(rates) for name, rates in named.items()} == {
        name: rates for name, rates in DEFAULT_RATES.items() if name not in OWN
    }


@pytest.mark.parametrize("architecture", sorted(DEFAULT_RATES))
def test_rates_reach_the_convolutions(architecture: str):
    dilations = {
        module.dilation[0] for module in build(architecture=architecture, rates=(3, 5, 7)).modules()
        if isinstance(module, torch.nn.Conv2d)
    }  # fmt: skip
    assert dilations >= {3, 5, 7}
    assert not dilations & {6, 12, 18, 24, 36}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"architecture": "bisenet", "dropout": 0.1}, "bisenet has no dropout, only DeepLabV3,"),
        ({"architecture": "FPN", "rates": [6, 12]}, "FPN has no rates, only deeplabv2, DeepLabV3"),
        ({"architecture": "DeepLabV3", "rates": [6, 12]}, "DeepLabV3 takes 3 rates, got 2"),
        ({"architecture": "deeplabv2", "rates": [6, 0]}, r"at least 1, got \[6, 0\]"),
        ({"architecture": "DPT"}, "DPT takes vision transformers of timm"),
        ({"normalization": "cafe"}, "unknown normalization 'cafe': did you mean 'caffe'"),
        ({"normalization": "caffe", "weights": "imagenet"}, "bring their own normalization"),
        ({"architecture": "bisnet"}, "unknown architecture 'bisnet': did you mean 'bisenet'"),
        ({"encoder": "resnet81"}, "unknown encoder 'resnet81': did you mean 'resnet18'"),
        ({"encoder": "mobilnet_v2"}, "did you mean 'mobilenet_v2'"),
    ],
)
def test_what_a_network_does_not_take_is_refused_in_the_configuration(fields: dict[str, object], says: str):
    with pytest.raises(ValueError, match=says):
        NetworkConfig(**fields)


@pytest.mark.parametrize("architecture", sorted(DROPOUT_OPTIONS))
def test_dropout_reaches_the_decoder(architecture: str):
    dropouts = [
        module.p
        for module in build(architecture=architecture, dropout=0.125).modules()
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d)
    ]
    assert dropouts
    assert set(dropouts) == {0.125}


def test_dropout_is_refused_where_it_would_do_nothing():
    with pytest.raises(ValueError, match="Unet has no dropout, only DeepLabV3, DeepLabV3Plus, FPN, PSPNet"):
        NetworkConfig(architecture="Unet", dropout=0.1)


def test_raw_images_are_normalized_inside():
    segmenter = build().eval()
    mean, std, _ = NORMALIZATIONS["imagenet"]
    images = torch.randint(256, (2, 3, 32, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    channels = [
        (images[:, c].float() / 255 - mean[c]) / std[c] for c in range(3)
    ]  # as torchvision's ToTensor and Normalize do it
    expected = segmenter.network(torch.stack(channels, dim=1))
    for raw in (images, images.float()):
        torch.testing.assert_close(segmenter(raw), expected, rtol=1e-4, atol=1e-4)
    assert segmenter(images).shape == (2, 19, 32, 64)


def test_the_same_seed_gives_the_same_network():
    assert same_weights(build(3), build(3))
    assert not same_weights(build(3), build(4))


def test_an_unknown_timm_encoder_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown timm encoder 'tu-resnet81': did you mean 'tu-resnet18'") as error:
        check_network(NetworkConfig(encoder="tu-resnet81"), height=32, width=32)
    one_line(error)


def test_known_encoders_pass():
    for encoder in ("resnet18", "tu-resnet18", "tu-resnet18.a1_in1k"):
        check_network(NetworkConfig(encoder=encoder), height=32, width=64)


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown architecture 'FNP': did you mean 'FPN'"):
        NetworkConfig(architecture="FNP")


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("deeplabv2", "vgg11"), ("UnetPlusPlus", "mit_b0"), ("bisenet", "tu-vit_tiny_patch16_224")],
)
def test_an_encoder_that_the_decoder_cannot_take_is_refused(architecture: str, encoder: str):
    with pytest.raises(UserError, match=f"{architecture} .*{encoder} ") as error:
        build(architecture=architecture, encoder=encoder)
    one_line(error)


@pytest.mark.parametrize(("pixels", "fits"), [(1, 32), (33, 32), (100, 96), (720, 704), (1080, 1088)])
def test_a_size_that_the_stride_does_not_divide_is_answered_with_the_nearest(pixels: int, fits: int):
    with pytest.raises(UserError, match=f"height {pixels} is not a multiple of 32.* nearest is {fits}$"):
        check_network(NetworkConfig(), height=pixels, width=64)
    with pytest.raises(UserError, match=f"width {pixels} is not"):
        check_size(NetworkConfig(), height=32, width=pixels)


def test_frozen_batch_norm_keeps_statistics_and_affine_parameters():
    segmenter = build().train()
    freeze_batch_norm(segmenter)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    segmenter(images).sum().backward()
    norms = [module for module in segmenter.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad or norm.bias.requires_grad for norm in norms)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert segmenter.network.encoder.conv1.weight.grad is not None


@pytest.mark.parametrize("pixels", [56, 224, 518])
def test_a_network_that_runs_at_no_size_is_refused_before_training(pixels: int):
    config = NetworkConfig(architecture="DPT", encoder="tu-vit_small_patch14_dinov2")
    with pytest.raises(UserError, match=rf"cannot take images of {pixels}×{pixels} .*; nor of .* take another encoder"):
        check_network(config, height=pixels, width=pixels)


def test_a_network_that_runs_at_one_size_alone_is_refused_with_that_size():
    config = NetworkConfig(encoder="tu-swin_tiny_patch4_window7_224")
    with pytest.raises(UserError, match=r"FPN on tu-swin_.* cannot take images of 64×96 .*; 224×224 would do") as error:
        check_network(config, height=64, width=96)
    one_line(error)
    check_network(config, height=224, width=224)


@pytest.mark.parametrize("fields", [{"height": 64, "width": 64}, {"height": 224, "width": 224, "select_height": 64}])
@pytest.mark.parametrize("crop", [None, 64])
def test_a_training_refuses_the_size_of_its_crop_and_of_its_scores(fields: dict[str, int], crop: int | None):
    sizes = {"augmentation": {"crop_height": crop, "crop_width": crop}} if crop else {}
    network = {"encoder": "tu-swin_tiny_patch4_window7_224"}
    train = {"train": ["toy_city/day_train"], "select": "toy_city/day_val"}
    config = Config.model_validate({**train, "network": network, **fields, **sizes})
    with pytest.raises(UserError, match="would do"):
        supervised.check(config, {})
    whole = Config.model_validate({**train, "network": network, "height": 224, "width": 224})
    supervised.check(whole, {})


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0"])
def test_the_check_of_a_size_draws_no_random_number(encoder: str):
    failure_at.cache_clear()
    shapes_alone.cache_clear()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_size(NetworkConfig(encoder=encoder), height=96, width=64)
    assert torch.equal(torch.get_rng_state(), before)
    assert {parameter.device.type for parameter in shapes_alone(NetworkConfig(encoder=encoder)).parameters()} == {
        "meta"
    }


def test_what_asks_for_values_is_given_some(monkeypatch: pytest.MonkeyPatch):
    failure_at.cache_clear()
    seen: list[str] = []

    def asking(segmenter: Segmenter, images: torch.Tensor) -> torch.Tensor:
        seen.append(images.device.type)
        assert images.sum().item() == 0
        return images

    monkeypatch.setattr(Segmenter, "normalize", asking)
    check_size(NetworkConfig(), height=160, width=64)
    assert seen == ["meta", "cpu"]
    failure_at.cache_clear()
