import hashlib
import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from trainers.components.configs import AugmentationConfig, LossConfig, NetworkConfig, OptimizerConfig
from trainers.config import ADDED, RUNTIME, keyed, walk
from trainers.errors import UserError
from trainers.loop_config import LoopConfig
from trainers.registry import METHODS, method
from trainers.segmentation.supervised_config import Config

BASE = {"train": ["toy_city/day_train"], "select": "toy_city/day_val", "height": 32, "width": 64}


def config(**fields: object) -> Config:
    return Config.model_validate({**BASE, **fields})


@pytest.mark.parametrize(
    ("field", "value"), [("score_batch_size", 3), ("loader_workers", 2), ("cache_bytes", 0),
                         ("loop", {"checkpoint_every_steps": 7})],
)  # fmt: skip
def test_fields_that_no_result_depends_on_do_not_enter_the_key(field: str, value: object):
    assert config(**{field: value}) != config()
    assert keyed(config(**{field: value})) == keyed(config())


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", 3), ("batch_norm", "frozen"), ("loop", {"steps": 7}), ("loss", {"alpha": 0.5}),
                         ("network", {"dropout": 0.0}), ("train", ["toy_city/night_train"]), ("precision", "bfloat16"),
                         ("augmentation", {"horizontal_flip": 0.0}), ("optimizer", {"name": "sgd"})],
)  # fmt: skip
def test_all_other_fields_enter_the_key(field: str, value: object):
    assert keyed(config(**{field: value})) != keyed(config())


def test_no_runtime_field_is_left_anywhere_in_a_key():
    runtime = {
        name
        for model in walk(config())
        for name, field in type(model).model_fields.items()
        if field.json_schema_extra == RUNTIME
    }
    assert runtime == {"score_batch_size", "loader_workers", "cache_bytes"} | {
        f"checkpoint_every_{unit}" for unit in ("steps", "seconds")
    }
    assert not any(f'"{name}"' in json.dumps(keyed(config())) for name in runtime)


def test_fields_that_came_later_leave_the_keys_of_defaults_as_they_were():
    """The digest is that of the configuration before ``rates``, ``normalization`` and ``auxiliary_weight`` existed."""
    canonical = json.dumps(keyed(config()), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest()[:32] == "be8ba189a5df74eb72139349b8112d2a"
    added = {
        name
        for model in walk(config())
        for name, field in type(model).model_fields.items()
        if field.json_schema_extra == ADDED
    }
    assert {"rates", "normalization", "auxiliary_weight"} <= added


@pytest.mark.parametrize(
    ("field", "value"), [("network", {"architecture": "deeplabv2", "rates": [6, 12]}),
                         ("network", {"architecture": "deeplabv2", "normalization": "imagenet"}),
                         ("loss", {"auxiliary_weight": 0.5})],
)  # fmt: skip
def test_fields_that_came_later_enter_the_key_where_they_are_set(field: str, value: dict[str, object]):
    base = {"architecture": value.get("architecture", "bisenet")}
    with_it = {"network": base, field: value}
    assert keyed(config(**with_it)) != keyed(config(network=base))


def test_a_weight_of_auxiliary_heads_is_refused_where_there_are_none():
    with pytest.raises(ValidationError, match="FPN has no auxiliary head, only bisenet, bisenet_original, pspnet"):
        config(loss={"auxiliary_weight": 0.4})


def test_a_key_does_not_depend_on_whether_a_default_is_written_out():
    assert keyed(config(batch_size=4, loss={"gamma": 2.0})) == keyed(config())
    assert keyed(config())["train"] == ["toy_city/day_train"]


def test_a_weights_file_counts_by_its_bytes_and_not_by_its_path(tmp_path: Path):
    for name, content in (("a.pth", b"one"), ("copy.pth", b"one"), ("b.pth", b"two")):
        (tmp_path / name).write_bytes(content)

    def key(name: str) -> dict[str, object]:
        return keyed(config(network={"weights": str(tmp_path / name)}))

    assert key("a.pth") == key("copy.pth") != key("b.pth")
    assert str(tmp_path) not in json.dumps(key("a.pth"))
    assert keyed(config())["network"]["weights"] == "none"
    with pytest.raises(UserError, match=r"absent\.pth, which does not exist"):
        key("absent.pth")


def test_precision_is_resolved_by_the_device_and_only_where_it_is_open():
    assert config().resolved(device_type="cpu").precision == "float32"
    assert config().resolved(device_type="cuda").precision == "bfloat16"
    assert config(precision="float32").resolved(device_type="cuda").precision == "float32"
    assert keyed(config().resolved(device_type="cpu")) != keyed(config().resolved(device_type="cuda"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_s_configuration_is_frozen_and_refuses_unknown_keys(name: str):
    kind = method(name).config
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        kind.model_validate({"no_such_field": 1})


def documented(model: type[BaseModel]) -> list[str]:
    return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]


def test_every_scalar_field_says_what_it_is():
    parts = (LossConfig, OptimizerConfig, AugmentationConfig, NetworkConfig, LoopConfig)
    assert [name for part in parts for name in documented(part)] == []


@pytest.mark.parametrize(
    ("model", "fields", "says"),
    [
        (LossConfig, {"alpha": 1.01}, "less than or equal to 1"),
        (LossConfig, {"alpha": float("nan")}, "finite|greater|less"),
        (LossConfig, {"gamma": -0.1}, "greater than or equal to 0"),
        (LossConfig, {"focal_class_weights": [1.0] * 18}, "needs 19 numbers > 0, got 18"),
        (LossConfig, {"focal_class_weights": [0.0] + [1.0] * 18}, "needs 19 numbers > 0"),
        (OptimizerConfig, {"learning_rate": 0}, "greater than 0"),
        (OptimizerConfig, {"name": "rmsprop"}, "'sgd', 'adam' or 'adamw'"),
        (AugmentationConfig, {"scale_min": 2.0}, r"scale_min <= scale_max must hold, got 2\.0 and 1\.0"),
        (AugmentationConfig, {"crop_height": 16}, "greater than or equal to 32"),
        (LoopConfig, {"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_values_out_of_bounds_are_refused(model: type[BaseModel], fields: dict[str, object], says: str):
    with pytest.raises(ValidationError, match=says):
        model(**fields)
