import pytest
import torch

from trainers.components.configs import NetworkConfig, OptimizerConfig
from trainers.config import keyed
from trainers.networks.optimizers import build_optimizer, set_learning_rate
from trainers.networks.segmentation import Segmenter, build_segmenter, freeze_batch_norm


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return build_segmenter(NetworkConfig(), pretrained=False)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_parameter_is_in_exactly_one_group(segmenter: Segmenter, name: str):
    optimizer = build_optimizer(segmenter, OptimizerConfig(name=name))
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in segmenter.parameters()}


def test_the_groups_are_the_encoder_and_all_others(segmenter: Segmenter):
    encoder, head = build_optimizer(segmenter, OptimizerConfig()).param_groups
    names = {id(parameter): name for name, parameter in segmenter.named_parameters()}
    assert all(names[id(parameter)].startswith("network.encoder.") for parameter in encoder["params"])
    assert not any(names[id(parameter)].startswith("network.encoder.") for parameter in head["params"])


def test_the_head_learns_at_its_own_rate_throughout_the_schedule(segmenter: Segmenter):
    config = OptimizerConfig(learning_rate=0.01, head_learning_rate_factor=10, schedule="poly", power=0.9)
    optimizer = build_optimizer(segmenter, config)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.1])
    set_learning_rate(optimizer, config, 51, steps=100)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005359, 0.05359], rel=1e-4)
    set_learning_rate(optimizer, config, 1, steps=100)  # The rate is set, not multiplied step by step.
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.1])


def test_frozen_batch_norm_is_left_out():
    segmenter = build_segmenter(NetworkConfig(), pretrained=False)
    freeze_batch_norm(segmenter)
    optimizer = build_optimizer(segmenter, OptimizerConfig())
    grouped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    norms = [module for module in segmenter.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    frozen = {id(parameter) for norm in norms for parameter in norm.parameters()}
    assert len(frozen) == 2 * len(norms) > 0
    assert grouped == {id(parameter) for parameter in segmenter.parameters()} - frozen


@pytest.mark.parametrize(
    ("name", "kind", "momentum"), [("sgd", torch.optim.SGD, "momentum"), ("adam", torch.optim.Adam, "betas"),
                                   ("adamw", torch.optim.AdamW, "betas")],
)  # fmt: skip
def test_options_reach_the_optimizer(segmenter: Segmenter, name: str, kind: type, momentum: str):
    optimizer = build_optimizer(segmenter, OptimizerConfig(name=name, momentum=0.8, weight_decay=0.02))
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group[momentum] == (0.8 if momentum == "momentum" else (0.8, 0.999))
        assert group["weight_decay"] == 0.02


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_decay_can_spare_norms_and_biases(name: str):
    segmenter = build_segmenter(NetworkConfig(), pretrained=False)
    config = OptimizerConfig(name=name, decay_norms_and_biases=False, weight_decay=0.5, head_learning_rate_factor=10)
    optimizer = build_optimizer(segmenter, config)
    names = {id(parameter): name for name, parameter in segmenter.named_parameters()}
    decay = {names[id(one)]: group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    rate = {names[id(one)]: group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert decay.keys() == set(names.values())
    vectors = {name for name, parameter in segmenter.named_parameters() if parameter.ndim == 1}
    assert any(name.endswith("bias") for name in vectors)
    assert {name for name, value in decay.items() if value == 0} == vectors
    assert {value for name, value in decay.items() if name not in vectors} == {0.5}
    assert all((value == 0.01) == (not name.startswith("network.encoder.")) for name, value in rate.items())
    for parameter in segmenter.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in segmenter.named_parameters()}
    optimizer.step()
    moved = {name for name, value in segmenter.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in decay if name not in vectors}  # Of zero gradients the decay alone is left.


def test_the_decay_can_spare_position_embeddings():
    segmenter = build_segmenter(NetworkConfig(architecture="DPT", encoder="tu-test_vit"), pretrained=False)
    optimizer = build_optimizer(segmenter, OptimizerConfig(decay_norms_and_biases=False))
    spared = {id(one) for group in optimizer.param_groups if group["weight_decay"] == 0 for one in group["params"]}
    model = segmenter.network.encoder.model
    assert {id(model.pos_embed), id(model.cls_token)} <= spared
    assert id(model.patch_embed.proj.weight) not in spared


def test_the_decay_s_default_stays_out_of_keys():
    assert "decay_norms_and_biases" not in keyed(OptimizerConfig())
    assert keyed(OptimizerConfig(decay_norms_and_biases=False))["decay_norms_and_biases"] is False
