import inspect
import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from trainers.components.configs import NetworkConfig
from trainers.components.networks import ARCHITECTURES, DEFAULT_RATES, DROPOUT_OPTIONS, ENCODERS, NORMALIZATIONS, OWN
from trainers.errors import UserError
from trainers.networks.segmentation import (
    NETWORKS,
    Segmenter,
    build_segmenter,
    check_network,
    check_size,
    freeze_batch_norm,
)


def build(seed: int = 0, *, pretrained: bool = False, **fields: object) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter(NetworkConfig(**fields), pretrained=pretrained)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """A hub that knows one ResNet-18: its ``state`` and the ``config.json`` beside it."""
    config: dict[str, object] = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
    state = {name: value.contiguous() for name, value in build(7).network.encoder.state_dict().items()}

    def download(repo: str, *, filename: str, revision: str) -> str:
        assert repo == "smp-hub/resnet18.imagenet"
        save_file(state, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(config))
        return str(tmp_path / filename)

    monkeypatch.setattr(smp.encoders, "hf_hub_download", download)
    return {"config": config, "state": state}


@pytest.mark.parametrize("architecture", ["FPN", "DeepLabV3", "PSPNet"])
def test_named_weights_bring_their_normalization(architecture: str, hub: dict[str, dict]):
    segmenter = build(architecture=architecture, weights="imagenet", pretrained=True)
    loaded = segmenter.network.encoder.state_dict()
    assert loaded
    assert all(torch.equal(value, hub["state"][name]) for name, value in loaded.items())
    assert (segmenter.mean / 255).flatten().tolist() == pytest.approx(hub["config"]["mean"])
    assert (segmenter.std / 255).flatten().tolist() == pytest.approx(hub["config"]["std"])
    fresh = build(architecture=architecture, weights="imagenet")  # As for a checkpoint: asks no hub, and holds both.
    fresh.load_state_dict(segmenter.state_dict())
    assert same_weights(fresh, segmenter)


@pytest.mark.parametrize("other", [{"input_space": "BGR"}, {"input_range": [0, 255]}])
def test_weights_for_other_images_are_refused(other: dict[str, object], hub: dict[str, dict]):
    hub["config"].update(other)
    with pytest.raises(UserError, match=r"'imagenet' of resnet18 expect .* gives RGB in \[0, 1\]") as error:
        build(weights="imagenet", pretrained=True)
    one_line(error)


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


@pytest.mark.parametrize("content", ["segmenter", "network", "encoder", "artifact"])
def test_weights_come_from_a_file_of_the_encoder_or_of_the_whole(content: str, tmp_path: Path):
    source = build(1)
    state = {
        "segmenter": source.state_dict(),
        "network": source.network.state_dict(),
        "encoder": source.network.encoder.state_dict(),
        "artifact": {"weights": source.state_dict(), "step": 3},
    }[content]
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    loaded = build(2, weights=str(path), pretrained=True)
    assert same_weights(loaded.network.encoder, source.network.encoder)
    assert same_weights(loaded, source) == (content != "encoder")
    assert not same_weights(build(2, weights=str(path)).network.encoder, source.network.encoder)


def test_a_file_of_something_else_names_a_tensor(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save({"other.weight": torch.zeros(3)}, path)
    with pytest.raises(
        UserError, match=f"{path} holds neither the encoder resnet18 .*has other.weight, .*has conv1.weight"
    ) as error:
        build(weights=str(path), pretrained=True)
    one_line(error)


def test_a_file_of_another_width_names_a_tensor(tmp_path: Path):
    state = build().network.encoder.state_dict()
    path = tmp_path / "wide.pth"
    torch.save({**state, "bn1.bias": torch.zeros(65)}, path)
    with pytest.raises(
        UserError, match=f"{path} does not fit the encoder resnet18; tensors 1 of another shape: bn1.bias"
    ) as error:
        build(weights=str(path), pretrained=True)
    one_line(error)


def test_a_file_of_a_deeper_encoder_is_not_half_loaded(tmp_path: Path):
    path = tmp_path / "deeper.pth"
    torch.save(build(encoder="resnet34").network.encoder.state_dict(), path)
    with pytest.raises(
        UserError, match=r"does not fit the encoder resnet18; tensors \d+ too many: layer1\.2\.conv1"
    ) as error:
        build(weights=str(path), pretrained=True)
    one_line(error)


def test_a_file_of_a_network_with_other_classes_names_the_classifier(tmp_path: Path):
    state = build(architecture="bisenet").state_dict()
    name = "network.classifier.weight"
    path = tmp_path / "classes.pth"
    torch.save({**state, name: torch.zeros(11, 11, 1, 1)}, path)
    with pytest.raises(UserError, match=rf"1 of another shape: {name} \(11, 11, 1, 1\) instead of \(19, 19, 1, 1\)"):
        check_network(NetworkConfig(architecture="bisenet", weights=str(path)), height=33, width=65)


def test_a_file_of_another_network_names_what_is_missing(tmp_path: Path):
    path = tmp_path / "pspnet.pth"
    torch.save(build(architecture="pspnet").state_dict(), path)
    with pytest.raises(
        UserError, match=r"does not fit deeplabv2-resnet18; .* missing: .*classifiers.* too many: .*pyramid"
    ):
        build(architecture="deeplabv2", normalization="imagenet", weights=str(path), pretrained=True)


def test_weights_of_one_family_are_refused_by_a_network_of_another(tmp_path: Path):
    path = tmp_path / "caffe.pth"
    torch.save(build(architecture="deeplabv2").state_dict(), path)
    same = build(5, architecture="deeplabv2", weights=str(path), pretrained=True)
    assert torch.equal(same.mean, torch.load(path, weights_only=True)["mean"])
    with pytest.raises(UserError, match=r"family caffe: set network\.normalization to caffe") as error:
        build(architecture="deeplabv2", normalization="imagenet", weights=str(path), pretrained=True)
    one_line(error)


@pytest.mark.parametrize("wrapped", ["as it is", "state_dict", "module."])
def test_torchvision_s_file_brings_its_classifier_which_is_left_out(wrapped: str, tmp_path: Path):
    source = torchvision.models.resnet18()
    state = {f"module.{name}" if wrapped == "module." else name: value for name, value in source.state_dict().items()}
    old = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
    path = tmp_path / "resnet18.pth"
    torch.save({"state_dict": old, "epoch": 3} if wrapped == "state_dict" else old, path)
    encoder = build(architecture="bisenet", weights=str(path), pretrained=True).network.encoder
    assert torch.equal(encoder.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_timm_s_file_fits_the_encoder_that_wraps_it(tmp_path: Path):
    source = timm.create_model("resnet18")
    path = tmp_path / "timm.pth"
    torch.save(source.state_dict(), path)
    encoder = build(encoder="tu-resnet18", weights=str(path), pretrained=True).network.encoder
    assert torch.equal(encoder.model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_a_file_without_tensors_is_refused(tmp_path: Path):
    path = tmp_path / "epoch.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(UserError, match="holds no state dict"):
        build(weights=str(path), pretrained=True)


def test_torchvision_s_names_load_torchvision_s_weights(monkeypatch: pytest.MonkeyPatch):
    source = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda *_, **__: source)
    segmenter = build(architecture="deeplabv2", weights="IMAGENET1K_V1", pretrained=True)
    assert torch.equal(segmenter.network.encoder.conv1.weight, source["conv1.weight"])
    assert (segmenter.std / 255).flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert not segmenter.is_bgr
    with pytest.raises(
        UserError, match="unknown weights 'IMAGENET1K_V3' of encoder resnet18: did you mean 'IMAGENET1K_V1'"
    ):
        check_network(NetworkConfig(weights="IMAGENET1K_V3"), height=32, width=32)


def test_a_timm_encoder_takes_the_tags_of_its_model():
    with pytest.raises(UserError, match="unknown weights 'a1_in2k' of encoder tu-resnet18: did you mean 'a1_in1k'"):
        check_network(NetworkConfig(encoder="tu-resnet18", weights="a1_in2k"), height=32, width=32)


def test_a_weights_file_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.pth, which does not exist"):
        check_network(NetworkConfig(weights=str(tmp_path / "absent.pth")), height=32, width=32)


def test_an_unknown_name_of_weights_is_answered_with_the_known():
    with pytest.raises(UserError, match="unknown weights 'imagnet' of encoder resnet18: did you mean 'imagenet'"):
        check_network(NetworkConfig(weights="imagnet"), height=32, width=32)


def test_without_a_network_the_error_says_which_local_path_would_do(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Cannot find the requested files in the disk cache\nand no connection.")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", offline)
    with pytest.raises(UserError, match=r"'imagenet' of resnet18 could not be downloaded") as error:
        build(weights="imagenet", pretrained=True)
    message = one_line(error)
    assert "set network.weights to the path of a file with the encoder's state dict, such as resnet18.pth" in message
    assert "none for a random start" in message


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
