import inspect
import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from trainers.components.configs import ARCHITECTURES, DROPOUT_OPTIONS, NetworkConfig
from trainers.errors import UserError
from trainers.networks.segmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
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
    assert set(ARCHITECTURES) == offered
    assert list(ARCHITECTURES) == sorted(ARCHITECTURES)


def test_dropout_is_offered_where_the_library_has_it_and_called_what_it_calls_it():
    named = {
        kind.__name__: [name for name in inspect.signature(kind).parameters if "dropout" in name]
        for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()
    }
    assert {name: options for name, options in named.items() if options} == {
        name: [option] for name, option in DROPOUT_OPTIONS.items()
    }


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
    images = torch.randint(256, (2, 3, 32, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    channels = [
        (images[:, c].float() / 255 - IMAGENET_MEAN[c]) / IMAGENET_STD[c] for c in range(3)
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


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet81", "'resnet18'"), ("tu-resnet81", "'tu-resnet18'"), ("mobilnet_v2", "'mobilenet_v2'")],
)
def test_an_unknown_encoder_is_answered_with_the_nearest(name: str, hint: str):
    with pytest.raises(UserError, match=f"unknown .*encoder '{name}': did you mean") as error:
        check_network(NetworkConfig(encoder=name), height=32, width=32)
    assert hint in one_line(error)


def test_known_encoders_pass():
    for encoder in ("resnet18", "tu-resnet18", "tu-resnet18.a1_in1k"):
        check_network(NetworkConfig(encoder=encoder), height=32, width=64)


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown architecture 'FNP': did you mean 'FPN'"):
        NetworkConfig(architecture="FNP")


def test_an_encoder_that_the_decoder_cannot_take_is_refused():
    with pytest.raises(UserError, match=r"DPT and resnet18 do not go together: .*must start with 'tu-'") as error:
        build(architecture="DPT")
    one_line(error)


@pytest.mark.parametrize(("pixels", "fits"), [(1, 32), (33, 32), (100, 96), (720, 704), (1080, 1088)])
def test_a_size_that_the_stride_does_not_divide_is_answered_with_the_nearest(pixels: int, fits: int):
    with pytest.raises(UserError, match=f"height {pixels} is not a multiple of 32.* nearest is {fits}$"):
        check_network(NetworkConfig(), height=pixels, width=64)
    with pytest.raises(UserError, match=f"width {pixels} is not"):
        check_size("width", pixels)


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
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=f"{path} holds neither the encoder resnet18 .*'bn1.bias'") as error:
        build(weights=str(path), pretrained=True)
    one_line(error)


def test_a_file_of_another_width_names_a_tensor(tmp_path: Path):
    state = build().network.encoder.state_dict()
    path = tmp_path / "wide.pth"
    torch.save({**state, "bn1.bias": torch.zeros(65)}, path)
    with pytest.raises(UserError, match=f"{path} does not fit FPN-resnet18: .*bn1.bias") as error:
        build(weights=str(path), pretrained=True)
    one_line(error)


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
