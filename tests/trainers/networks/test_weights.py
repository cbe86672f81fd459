import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from tests.trainers.networks.building import build, one_line, same_weights
from trainers.checkpoint import load_state
from trainers.components.configs import NetworkConfig
from trainers.errors import MethodWarning, UserError
from trainers.networks.segmentation import check_network


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


TIMM_MODELS = [
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "regnety_002",
]
"""Of each kind of head that timm publishes: conv_head and bn2; head.norm and head.fc; norm and head."""


def architecture_of(model: str) -> str:
    return "DPT" if model.startswith("vit") else "FPN"


@pytest.mark.parametrize("model", TIMM_MODELS)
def test_a_checkpoint_as_timm_publishes_it_loads_every_tensor_of_the_encoder(model: str, tmp_path: Path):
    torch.manual_seed(1)
    source = timm.create_model(model)
    path = tmp_path / "published.pth"
    torch.save(source.state_dict(), path)
    fields = {"architecture": architecture_of(model), "encoder": f"tu-{model}"}
    fresh = build(2, **fields).network.encoder
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        encoder = build(2, **fields, weights=str(path), pretrained=True).network.encoder
    published = {re.sub(r"[._]", "", name): value for name, value in source.state_dict().items()}
    ours = {re.sub(r"[._]", "", name.removeprefix("model.")): value for name, value in encoder.state_dict().items()}
    assert len(ours) == len(fresh.state_dict())
    assert all(torch.equal(value, published[name]) for name, value in ours.items())
    left_out = published.keys() - ours.keys()
    texts = [str(one.message) for one in told if issubclass(one.category, MethodWarning)]
    assert len(texts) == bool(left_out)
    assert all(f"no place for {len(left_out)} tensors" in text and "\n" not in text for text in texts)


def test_what_is_left_out_is_named(tmp_path: Path):
    path = tmp_path / "published.pth"
    torch.save(timm.create_model("efficientnet_b0").state_dict(), path)
    with pytest.warns(
        MethodWarning,
        match=r"the encoder tu-efficientnet_b0 has no place for 8 tensors.*: conv_head\.weight, bn2\.weight",
    ):
        build(encoder="tu-efficientnet_b0", weights=str(path), pretrained=True)


def test_a_file_of_a_deeper_timm_model_is_not_half_loaded(tmp_path: Path):
    path = tmp_path / "deeper.pth"
    torch.save(timm.create_model("regnety_004").state_dict(), path)
    with pytest.raises(UserError, match="does not fit the encoder tu-regnety_002; tensors"):
        build(encoder="tu-regnety_002", weights=str(path), pretrained=True)


def test_a_timm_file_without_one_of_the_encoder_s_tensors_is_refused(tmp_path: Path):
    state = timm.create_model("efficientnet_b0").state_dict()
    del state["blocks.2.0.conv_pw.weight"]
    path = tmp_path / "part.pth"
    torch.save(state, path)
    with pytest.raises(UserError, match=r"1 missing: blocks\.2\.0\.conv_pw\.weight"):
        build(encoder="tu-efficientnet_b0", weights=str(path), pretrained=True)


@pytest.mark.parametrize(
    "prefix", ["model.", "_orig_mod.", "backbone.", "module.", "encoder.", "module._orig_mod.model."]
)
@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_prefixes_of_training_programs_are_understood(prefix: str, encoder: str, tmp_path: Path):
    source = timm.create_model("resnet18") if encoder.startswith("tu-") else torchvision.models.resnet18()
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "wrapped.pth"
    torch.save({"state_dict": {**state, "decode_head.conv_seg.weight": torch.zeros(19, 8, 1, 1)}}, path)
    with pytest.warns(MethodWarning, match=r"no place for 3 tensors.*decode_head\.conv_seg\.weight"):
        loaded = build(encoder=encoder, weights=str(path), pretrained=True).network.encoder
    inner = loaded.model if encoder.startswith("tu-") else loaded
    assert torch.equal(inner.conv1.weight, source.conv1.weight)
    assert torch.equal(inner.layer4[1].bn2.running_mean, source.layer4[1].bn2.running_mean)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model._orig_mod."])
def test_a_wrapped_file_of_the_whole_is_loaded_whole(prefix: str, tmp_path: Path):
    source = build(1, architecture="bisenet")
    path = tmp_path / "whole.pth"
    torch.save({f"{prefix}{name}": value for name, value in source.state_dict().items()}, path)
    assert same_weights(build(2, architecture="bisenet", weights=str(path), pretrained=True), source)


def test_a_number_of_numpy_s_beside_the_weights_is_read(tmp_path: Path):
    source = build(1).network.encoder
    path = tmp_path / "best.pth"
    numbers = {"best_pred": np.float64(0.75), "epoch": np.int64(3), "is_best": np.bool_(True)}
    torch.save({"state_dict": source.state_dict(), **numbers}, path)
    assert same_weights(build(2, weights=str(path), pretrained=True).network.encoder, source)
    assert load_state(path)["best_pred"] == 0.75
    assert load_state(path)["epoch"] == 3
    assert load_state(path)["is_best"] is True


@pytest.mark.parametrize("value", [np.array(["a"], dtype=object), np.datetime64("2020-01-01"), np.zeros(2)])
def test_no_other_object_of_numpy_s_is_read(value: object, tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save({"value": value}, path)
    with pytest.raises(UserError, match=r"cannot be read"):
        load_state(path)


@pytest.mark.parametrize(
    ("model", "mean"),
    [("resnetv2_50x1_bit", 0.5), ("resnet18", 0.485), ("tf_efficientnet_b0", 0.485), ("test_vit", 0.5)],
)
def test_a_timm_encoder_from_a_file_takes_the_mean_of_timm_s_own_configuration(model: str, mean: float, tmp_path: Path):
    assert timm.get_pretrained_cfg(model).mean[0] == mean
    encoder = f"tu-{model}"
    fields = {"architecture": "DPT" if model == "test_vit" else "FPN", "encoder": encoder}
    path = tmp_path / "published.pth"
    torch.save(timm.create_model(model).state_dict(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MethodWarning)
        segmenter = build(**fields, weights=str(path), pretrained=True)
        named = build(**fields, weights=str(path), normalization="imagenet", pretrained=True)
    expected = timm.get_pretrained_cfg(model)
    assert (segmenter.mean / 255).flatten().tolist() == pytest.approx(expected.mean)
    assert (segmenter.std / 255).flatten().tolist() == pytest.approx(expected.std)
    assert (named.mean / 255).flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    config = NetworkConfig(**fields, weights=str(path))
    assert ("normalization" in config.content()) == (mean == 0.5)  # A key moves where the numbers did.
    assert "normalization" not in NetworkConfig(**fields).content()


def test_the_families_of_timm_have_names():
    half = build(encoder="tu-test_resnet", normalization="inception")
    assert (half.mean / 255).flatten().tolist() == pytest.approx([0.5] * 3)
    assert (half.std / 255).flatten().tolist() == pytest.approx([0.5] * 3)
    named = build(architecture="DPT", encoder="tu-test_vit", normalization="timm")
    assert (named.mean / 255).flatten().tolist() == pytest.approx(timm.get_pretrained_cfg("test_vit").mean)
    with pytest.raises(ValueError, match=r"normalization timm is of the encoders tu-…, not of resnet18; take one of"):
        NetworkConfig(normalization="timm")
