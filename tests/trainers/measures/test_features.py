"""Feature networks by name, against pytorch-fid and torchvision, and the stages that use them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from pytorch_fid import inception as fid
from torch import Tensor

from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.errors import UserError
from trainers.measures import features as features_stage
from trainers.measures import frechet as frechet_stage
from trainers.measures.features_config import Config as FeaturesStageConfig
from trainers.measures.frechet_config import Config as FrechetConfig
from trainers.networks.features import build_features, check_feature_source, hash_weights
from trainers.networks.features_config import FeatureConfig
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.trained import Trained, write_description


def parsed(text: str) -> FeatureConfig:
    return FeatureConfig.model_validate(text)


def images(count: int = 2, height: int = 40, width: int = 56) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one, as a training stage leaves it."""
    folder, network = tmp_path_factory.mktemp("segmenter"), NetworkConfig()
    torch.manual_seed(0)
    weights = build_segmenter(network, pretrained=False).state_dict()
    for name in ("final", "best"):
        torch.save({"weights": weights, "step": 1}, folder / f"{name}.pt")
    write_description(folder, Trained(network, 32, 64))
    return folder


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of pytorch-fid's network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
        patch.setattr(fid, "load_state_dict_from_url", lambda *_, **__: {})
        network = fid.fid_inception_v3()
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("dims", [64, 192, 768, 2048])
def test_inception_s_features_are_pytorch_fid_s_on_the_same_file(
    dims: int, inception_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fid, "load_state_dict_from_url", lambda *_, **__: torch.load(inception_file, weights_only=True))
    theirs = fid.InceptionV3([fid.InceptionV3.BLOCK_INDEX_BY_DIM[dims]]).eval()
    ours = build_features(parsed(f"inception@{dims}:{inception_file}"), {})
    with torch.no_grad():
        expected = theirs(images() / 255)[0].mean(dim=(2, 3))
        found = ours.vectors(images())
    assert found.shape == (2, dims)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "index"), [("vgg16@relu1_2", 4), ("vgg16@relu4_3", 23), ("vgg19@relu3_4", 18)])
def test_vgg_s_features_are_torchvision_s(name: str, index: int, tmp_path: Path):
    torch.manual_seed(0)
    network = getattr(torchvision.models, name.partition("@")[0])(weights=None)
    torch.save(network.state_dict(), tmp_path / "vgg.pth")
    ours = build_features(parsed(f"{name}:{tmp_path / 'vgg.pth'}"), {})
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (images() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), network.features[:index](normalized), rtol=1e-4, atol=1e-5)


def test_without_its_fourth_pooling_the_fifth_block_of_vgg16_runs_at_an_eighth():
    config = parsed("vgg16:random")
    assert config.layer == "relu5_3"
    assert build_features(config, {})(images(1, 32, 64)).shape == (1, 512, 2, 4)
    whole = build_features(config, {}, omit_last_pooling=True)
    assert whole(images(1, 32, 64)).shape == (1, 512, 4, 8)


def test_a_segmenter_gives_its_encoder_s_stages(segmenter: Path):
    network = build_features(parsed("segmenter"), {"segmenter": segmenter})
    shallow = build_features(parsed(f"segmenter@2:{segmenter}"), {})
    assert network.vectors(images(1, 32, 64)).shape == (1, 512)
    assert shallow(images(1, 32, 64)).shape == (1, 64, 8, 16)
    assert network.weights_hash == shallow.weights_hash


def test_features_are_frozen_stay_in_evaluation_mode_and_pass_gradients_on(segmenter: Path):
    network = build_features(parsed("segmenter@2"), {"segmenter": segmenter}).train()
    assert not network.body.training
    shown = images().float().requires_grad_()
    network(shown).sum().backward()
    assert shown.grad is not None
    assert shown.grad.any()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())


def test_random_features_are_asked_for_by_name_told_and_always_the_same():
    first, second = (build_features(parsed("vgg16@relu1_2:random"), {}) for _ in range(2))
    assert first.name == "vgg16@relu1_2:random"
    assert first.weights_hash == second.weights_hash
    state = torch.random.get_rng_state()
    build_features(parsed("vgg16@relu1_2:random"), {})
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_hash_of_weights_is_of_every_tensor():
    state = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert hash_weights(state) == hash_weights(dict(reversed(state.items())))
    assert len({hash_weights(one) for one in (state, {**state, "b": torch.tensor([1.0, 1.1])}, {"a": state["a"]})}) == 3


def test_weights_that_cannot_be_had_are_never_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    for name in ("inception", "vgg16", "vgg19"):
        with pytest.raises(UserError, match=rf"the weights of {name} could not be downloaded .*{name}:random"):
            build_features(parsed(name), {})
    torch.save({"conv": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"do not fit: .* tensors differ"):
        build_features(parsed(f"vgg16:{tmp_path / 'other.pth'}"), {})
    with pytest.raises(UserError, match=r"/absent.pth do not exist"):
        build_features(parsed("inception:/absent.pth"), {})
    with pytest.raises(UserError, match=r"need an input `segmenter`"):
        build_features(parsed("segmenter"), {})
    with pytest.raises(UserError, match=r"need an input `segmenter`"):
        check_feature_source(parsed("segmenter"), {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet", "Input should be 'inception'"),
        ("vgg16@relu5_4", "vgg16 has no layer 'relu5_4'"),
        ("inception@512", "inception has no layer '512'"),
        ("segmenter:random", "a segmenter has trained weights"),
    ],
)
def test_a_wrong_name_is_answered(text: str, words: str):
    with pytest.raises(ValidationError, match=words):
        parsed(text)


def test_names_are_written_as_they_are_read_and_files_count_by_their_bytes(tmp_path: Path):
    for text in ("inception@2048", "vgg16@relu1_2:random", "segmenter@-1:/some/where"):
        assert str(parsed(text)) == text
    assert FeaturesStageConfig.model_validate(fields()).model_dump()["features"] == "segmenter@2"
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"weights")
    first, second = (parsed(f"vgg16:{tmp_path / name}").key() for name in ("a.pth", "b.pth"))
    assert first == second
    (tmp_path / "b.pth").write_bytes(b"others")
    assert parsed(f"vgg16:{tmp_path / 'b.pth'}").key() != first


def fields(**changes: Any) -> dict[str, Any]:
    return {"split": "toy_city/day_train", "features": "segmenter@2", "height": 32, "width": 64, **changes}


def take(output: Path, toy_city: Path, segmenter: Path, **changes: Any) -> dict[str, Any]:
    output.mkdir()
    config = FeaturesStageConfig.model_validate(fields(**changes))
    inputs = {"toy_city": toy_city, "segmenter": segmenter}
    features_stage.check(config, inputs)
    return features_stage.run(config, inputs, output, None, PlainContext(output / "checkpoints"))


def test_features_of_a_split_are_one_vector_an_image_whatever_the_batches(
    toy_city: Path, segmenter: Path, tmp_path: Path
):
    whole = take(tmp_path / "whole", toy_city, segmenter)
    single = take(tmp_path / "single", toy_city, segmenter, batch_size=1)
    vectors = [np.load(tmp_path / name / "features.npy") for name in ("whole", "single")]
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-4, atol=1e-5)
    assert vectors[0].shape == (7, 64)
    assert whole["images"] == 7
    assert whole["features"] == "segmenter@2"
    assert whole["weights_hash"] == single["weights_hash"]
    statistics = np.load(tmp_path / "whole" / "statistics.npz")
    np.testing.assert_allclose(statistics["mu"], vectors[0].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics["sigma"], np.cov(vectors[0].astype(float), rowvar=False), atol=1e-9)
    assert whole["trace"] == pytest.approx(np.trace(statistics["sigma"]))


@pytest.mark.filterwarnings("ignore:a Fréchet distance")
def test_a_distance_tells_all_that_it_depends_on_and_refuses_unlike_features(
    toy_city: Path, segmenter: Path, tmp_path: Path
):
    take(tmp_path / "day", toy_city, segmenter)
    take(tmp_path / "night", toy_city, segmenter, split="toy_city/night_val")
    inputs = {"features": tmp_path / "day", "reference": tmp_path / "night"}
    frechet_stage.check(FrechetConfig(), inputs)
    found = frechet_stage.run(FrechetConfig(), inputs, tmp_path, None, PlainContext(tmp_path))
    assert found["fid"] == pytest.approx(found["fid_mean_term"] + found["fid_covariance_term"])
    assert found["fid"] > 0
    assert (found["images"], found["reference_images"], found["dimensions"]) == (7, 3, 64)
    assert found["fid_features"] == "segmenter@2, 7 and 3 images, symmetric eigenvalues, float64"
    json.dumps(found, allow_nan=False)
    described = json.loads((tmp_path / "night" / "features.json").read_text())
    (tmp_path / "night" / "features.json").write_text(json.dumps({**described, "weights_hash": "other"}))
    with pytest.raises(UserError, match=r"the weights are .* for one set and other for the other"):
        frechet_stage.check(FrechetConfig(), inputs)


def test_a_distance_of_two_networks_is_refused_before_anything_is_taken():
    sources = {role: FeaturesStageConfig.model_validate(fields()) for role in ("features", "reference")}
    frechet_stage.check_sources(FrechetConfig(), sources)
    sources["reference"] = FeaturesStageConfig.model_validate(fields(features="segmenter@3"))
    with pytest.raises(UserError, match=r"features is segmenter@2 of one set and segmenter@3 of the other"):
        frechet_stage.check_sources(FrechetConfig(), sources)
    with pytest.raises(UserError, match=r"reference missing"):
        frechet_stage.check_sources(FrechetConfig(), {"features": sources["features"]})
