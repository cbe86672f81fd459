"""What every method of the registry keeps, over a tiny configuration of each.

To add a method: an entry in ``TINY``, then record its losses with ``NIGHTSHIFT_RECORD=1`` (see the last test).
"""

import inspect
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.trainers.data.miniatures import (
    blocks_in_haze,
    cityscapes_with_depth,
    labels_of_blocks,
    pairs_of_blocks,
)
from tests.trainers.translation.untrained import SMALL as SMALL_GENERATOR
from tests.trainers.translation.untrained import global_generator
from trainers.config import Config
from trainers.context import PlainContext
from trainers.registry import METHODS, method

RECORD = Path(__file__).with_name("recorded_losses.json")
TIMES = {"seconds", "images_per_second", "peak_memory_bytes"}


@dataclass(frozen=True)
class Tiny:
    """A configuration that runs in a second, and the inputs that it needs, by role: ``SOURCES`` makes them."""

    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    record: Mapping[str, Any] = field(default_factory=dict)
    """Changes for the recorded losses, which must agree to 1e-4 between processors: batch statistics of a few pixels
    and Adam's division enlarge their differences a thousandfold in six steps unless the rate is small, and uint8
    rescaling rounds differently on each. No number is near a threshold, where rounding would decide."""
    two_workers: Mapping[str, Any] = field(default_factory=dict)
    """Changes with which two workers compute what one does, beside ``batch_norm: frozen``: no dropout, for each rank
    draws its own, and an optimizer that does not divide by tiny numbers."""


TINY = {
    "toy_city": Tiny({"height": 32, "width": 64, "images": {"day": {"train": 2}, "night": {"val": 1}}}, {}),
    "supervised": Tiny(
        {
            "train": ["toy_city/day_train"],
            "select": "toy_city/day_val",
            "height": 32,
            "width": 64,
            "batch_size": 4,
            "loss": {"alpha": 0.5, "gamma": 1.5, "normalise_focal": True},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "clip_gradient_norm": 5.0},
            "augmentation": {"scale_min": 0.8, "scale_max": 1.3},
            "loop": {"steps": 4, "score_every_steps": 2, "log_every_steps": 3, "checkpoint_every_steps": 2},
        },
        {"toy_city": "toy_city"},
        record={"optimizer": {"learning_rate": 3e-6}, "augmentation": {"scale_min": 1.0, "scale_max": 1.0}},
        two_workers={"network": {"dropout": 0.0}, "optimizer": {"name": "sgd", "learning_rate": 1e-4}},
    ),
    "pack": Tiny(
        {"splits": ["toy_city/day_val", "toy_city/day_train:3"], "height": 16, "width": 32}, {"toy_city": "toy_city"}
    ),
    "fog": Tiny({"split": "cityscapes/train"}, {"cityscapes": "cityscapes"}),
    "evaluation": Tiny(
        {"split": "toy_city/night_val", "checkpoint": "final"}, {"toy_city": "toy_city", "segmenter": "segmenter"}
    ),
}
ADAPTATION = {
    **TINY["supervised"].config,
    "target": "toy_city/night_val",
    "loss": {"alpha": 1.0},
    "augmentation": {"scale_max": 1.3},
    "pictures": 2,
}
FROM_SEGMENTER = {"toy_city": "toy_city", "initial": "segmenter"}
TINY["fda"] = Tiny(
    {**ADAPTATION, "beta": 0.05},
    FROM_SEGMENTER,
    record=TINY["supervised"].record,
    two_workers=TINY["supervised"].two_workers,
)
TINY["adabn"] = Tiny(
    {"target": "toy_city/day_train", "batch_size": 2}, {"toy_city": "toy_city", "segmenter": "segmenter"}
)
TINY["dacs"] = Tiny(
    {
        **ADAPTATION,
        "teacher": {"rate": 0.4},
        "threshold": 0.2,
        "weight": "image",
        "rare_classes": {"temperature": 0.1},
        "feature_distance": {"weight": 0.1, "stage": 2},
        "masked": {"weight": 0.5, "patch": 8},
    },
    FROM_SEGMENTER,
    record={**TINY["supervised"].record, "threshold": 0.0},
    two_workers=TINY["supervised"].two_workers,
)
TINY["pseudo_labels"] = Tiny(
    {"target": "toy_city/night_val", "height": 32, "width": 64},
    {"toy_city": "toy_city", "segmenter": "segmenter", "segmenter_again": "segmenter"},
)
PAIRS = {
    **ADAPTATION,
    "target": "dark_zurich/pairs",
    "select_by": "miou",
    "class_weights": {"frequencies": "source"},
    "light": {"patch": 8},
    "adversarial": {"width": 4, "weight": 0.1},
    "pair_augmentation": {"scale_min": 0.9, "scale_max": 1.1},
}
WITH_PAIRS = {**FROM_SEGMENTER, "dark_zurich": "dark_zurich"}
SMALL_STEPS = {
    **TINY["supervised"].record,
    "adversarial": {"learning_rate": 1e-6},
    "pair_augmentation": {"scale_min": 1.0, "scale_max": 1.0},
}
TINY["dannet"] = Tiny(
    {**PAIRS, "loss": {}, "relighting": {"width": 4}},
    WITH_PAIRS,
    record={**SMALL_STEPS, "static": {"logit_threshold": -100.0}},
    two_workers=TINY["supervised"].two_workers,
)
TINY["bimix"] = Tiny(
    {
        **PAIRS,
        "loss": {},
        "relighting": {"kind": "curves", "width": 4},
        "source_to_night": {"weight": 0.5, "threshold": 0.2},
        "day_to_night": {"consistency_weight": 0.1, "light_weight": 0.01},
    },
    WITH_PAIRS,
    record={**SMALL_STEPS, "source_to_night": {"threshold": 0.0}},
    two_workers=TINY["supervised"].two_workers,
)
TINY["unit"] = Tiny(
    {
        "source": "toy_city/day_train",
        "target": "toy_city/night_val",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {"width": 4, "blocks": 2},
        "discriminator": {"width": 4, "scales": 2},
        "weights": {"perceptual": 10.0},
        "features": "segmenter@2",
        "augmentation": {"crop_height": 32, "crop_width": 32},
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"toy_city": "toy_city", "segmenter": "segmenter"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-4}},
)
TINY["pix2pixhd"] = Tiny(
    {
        "train": "toy_city/day_train",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {**SMALL_GENERATOR, "enhancer": "local"},
        "discriminator": {"width": 4, "layers": 3, "scales": 2},
        "features": ["segmenter@1", "segmenter@2"],
        "feature_weights": [0.5, 1.0],
        "global_frozen_steps": 2,
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"toy_city": "toy_city", "segmenter": "segmenter", "global_generator": "global_generator"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-4}},
)
TINY["translate"] = Tiny(
    {"val": "toy_city/day_val", "unlabeled": "toy_city/day_train:4", "checkpoint_every_images": 2, "pictures": 1},
    {"toy_city": "toy_city", "translator": "translator"},
)
TINY["dfs"] = Tiny(
    {
        "source": "dehazing/hazy:5",
        "target": "dehazing/clear",
        "select": "dehazing/hazy:-2",
        "select_target": "dehazing/clear",
        "height": 32,
        "width": 64,
        "batch_size": 2,
        "generator": {"width": 4, "depth": 4},
        "discriminator": {"width": 4, "layers": 2},
        "features": "segmenter@2",
        "augmentation": {"horizontal_flip": 0.5},
        "loop": TINY["supervised"].config["loop"],
        "pictures": 2,
    },
    {"dehazing": "dehazing", "segmenter": "segmenter"},
    record={"optimizer": {"learning_rate": 3e-6}},
    two_workers={"optimizer": {"name": "sgd", "learning_rate": 1e-5}},
)
TINY["image_quality"] = Tiny({"split": "dehazing/hazy", "reference": "dehazing/clear"}, {"dehazing": "dehazing"})
TINY["features"] = Tiny(
    {"split": "toy_city/day_train", "features": "segmenter@2", "height": 32, "width": 64, "batch_size": 3},
    {"toy_city": "toy_city", "segmenter": "segmenter"},
)
TINY["frechet"] = Tiny({}, {"features": "features", "reference": "features"})
TINY["selection"] = Tiny(
    {
        "pool": "toy_city/day_train",
        "labeled": ["toy_city/day_val"],
        "quantile": 0.8,
        "unlabeled_ratio": 1.0,
        "order": "quantile_match",
        "pictures": 1,
    },
    {"toy_city": "toy_city", "features": "features", "reference": "features"},
)
TINY["self_training"] = Tiny(
    {
        **{name: value for name, value in TINY["supervised"].config.items() if name != "loss"},
        "target": "toy_city/night_val",
        "select_also": ["toy_city/night_val"],
        "composition": "batch",
        "unlabeled_per_batch": 2,
        "loss": {"alpha": 0.5, "focal_form": "batch_mean_legacy"},
    },
    {**FROM_SEGMENTER, "pseudo_labels": "pseudo_labels"},
    record=TINY["supervised"].record,
    two_workers=TINY["supervised"].two_workers,
)
TINY["light_split"] = Tiny({"pool": "toy_city/day_train", "threshold": 110.0}, {"toy_city": "toy_city"})
TINY["recombine"] = Tiny(
    {"split": "toy_city/day_train", "images": True, "checkpoint_every_images": 2, "pictures": 1},
    {"toy_city": "toy_city"},
)
TINY["agreement"] = Tiny(
    {"split": "toy_city/day_train", "height": 32, "width": 64, "threshold": 0.0},
    {"toy_city": "toy_city", "segmenter": "segmenter"},
)
SOURCES = {
    "toy_city", "segmenter", "cityscapes", "dark_zurich", "dehazing", "translator", "features", "pseudo_labels",
    "global_generator",
}  # fmt: skip
ALL = sorted(METHODS)
TRAINING = [name for name in ALL if "loop" in method(name).config.model_fields]

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Like a signal: nothing in between may catch it."""


@dataclass
class Outcome:
    """What a run returned, reported and left behind."""

    result: dict[str, Any]
    reports: list[Mapping[str, float]]
    files: dict[str, Any]


def tiny(name: str) -> Tiny:
    if name not in TINY:
        pytest.fail(f"the method {name!r} has no tiny configuration: add one to TINY in {Path(__file__).name}")
    return TINY[name]


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: merge(base.get(key, {}), value) if isinstance(value, dict) else value
              for key, value in changes.items()}  # fmt: skip
    return {**base, **nested}


def arguments(
    name: str, sources: Mapping[str, Path], seed: int, changes: Mapping[str, Any]
) -> tuple[Any, Config, dict[str, Path], int | None]:
    """The module of a method, its tiny configuration with ``changes``, its inputs and its seed."""
    kind = method(name)
    config = kind.config.model_validate(merge(tiny(name).config, changes)).resolved(device_type="cpu")
    inputs = {role: sources[source] for role, source in tiny(name).inputs.items()}
    return kind.load(), config, inputs, None if kind.seed_from is None else seed


def run(
    name: str, sources: Mapping[str, Path], folder: Path, *, seed: int = 0, kill_at: int | None = None, **changes: Any
) -> Outcome:
    """Check and run the tiny configuration of ``name`` in ``folder``, where a killed run continues."""
    module, config, inputs, seed_or_none = arguments(name, sources, seed, changes)
    reports: list[Mapping[str, float]] = []

    def listen(metrics: Mapping[str, float]) -> None:
        reports.append(dict(metrics))
        if metrics["step"] == kill_at:
            raise Killed

    output = folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    module.check(config, inputs)
    context = PlainContext(folder / "checkpoints", on_report=listen)
    result = module.run(config, inputs, output, seed_or_none, context)
    files = {path.relative_to(output).as_posix(): read(path) for path in output.rglob("*") if path.is_file()}
    return Outcome({key: value for key, value in result.items() if key not in TIMES}, reports, files)


def read(path: Path) -> Any:
    return torch.load(path, weights_only=True) if path.suffix == ".pt" else path.read_bytes()


def same(a: Any, b: Any) -> bool:
    """Bit for bit, through dictionaries and sequences."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@pytest.fixture(scope="session")
def sources(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("segmenter")
    run("supervised", {"toy_city": toy_city}, folder)
    cityscapes = cityscapes_with_depth(tmp_path_factory.mktemp("cityscapes"))
    pairs = pairs_of_blocks(tmp_path_factory.mktemp("dark_zurich"))
    labels = labels_of_blocks(tmp_path_factory.mktemp("pseudo_labels"), "toy_city/night_val", images=3)
    haze = blocks_in_haze(tmp_path_factory.mktemp("dehazing"))
    made = {
        "toy_city": toy_city, "segmenter": folder / "output", "cityscapes": cityscapes, "dark_zurich": pairs,
        "dehazing": haze, "pseudo_labels": labels,
    }  # fmt: skip
    made["global_generator"] = global_generator(tmp_path_factory.mktemp("global_generator"))
    for source, name in (("translator", "unit"), ("features", "features")):
        folder = tmp_path_factory.mktemp(source)
        run(name, made, folder)
        made[source] = folder / "output"
    assert made.keys() == SOURCES
    return made


@pytest.fixture(scope="module")
def whole(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The undisturbed run of every method, with seed 0."""

    class OnDemand(dict[str, Outcome]):
        def __missing__(self, name: str) -> Outcome:
            self[name] = run(name, sources, tmp_path_factory.mktemp(name))
            return self[name]

    return OnDemand()


@pytest.mark.parametrize("name", ALL)
def test_a_method_has_the_agreed_names(name: str):
    tiny(name)
    config_module, module = import_module(f"{METHODS[name]}_config"), method(name).load()
    assert issubclass(config_module.Config, Config)
    assert isinstance(config_module.VERSION, int)
    assert config_module.SEED_FROM in ("sweep", "trial", None)
    assert list(inspect.signature(module.check).parameters) == ["config", "inputs"]
    assert list(inspect.signature(module.run).parameters) == ["config", "inputs", "output", "seed", "context"]
    assert set(tiny(name).inputs.values()) <= SOURCES


@pytest.mark.parametrize("name", ALL)
def test_a_method_runs_and_returns_what_a_manifest_can_hold(name: str, whole: dict[str, Outcome]):
    result = whole[name].result
    assert json.loads(json.dumps(result, allow_nan=False)) == json.loads(json.dumps(result))
    steps = [report["step"] for report in whole[name].reports]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_numbers(name: str, sources: dict[str, Path], whole: dict[str, Outcome],
                                              tmp_path: Path):  # fmt: skip
    torch.rand(7)
    again = run(name, sources, tmp_path)
    assert same(again.result, whole[name].result)
    assert same(again.files, whole[name].files)


@pytest.mark.parametrize("name", TRAINING)
def test_another_seed_gives_other_numbers(name: str, sources: dict[str, Path], whole: dict[str, Outcome],
                                          tmp_path: Path):  # fmt: skip
    other = run(name, sources, tmp_path, seed=1)
    assert not same(other.files["final.pt"], whole[name].files["final.pt"])
    assert other.files["curves.json"] != whole[name].files["curves.json"]


@pytest.mark.parametrize("name", TRAINING)
def test_losses_are_finite_and_reported(name: str, whole: dict[str, Outcome]):
    curves = json.loads(whole[name].files["curves.json"])
    assert {metric for _, metric, _ in curves} >= {"loss", "selection"}
    assert all(math.isfinite(value) for _, _, value in curves)
    newest = {metric: value for _, metric, value in curves}
    assert newest.items() <= whole[name].reports[-1].items()


@pytest.fixture
def gradients() -> Iterator[dict[int, list[bool]]]:
    """For each parameter of every optimizer: whether it had a gradient in each step."""
    seen: dict[int, list[bool]] = {}

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            for one in group["params"]:
                assert one.grad is None or one.grad.isfinite().all()
                seen.setdefault(id(one), []).append(one.grad is not None and bool(one.grad.any()))

    handle = register_optimizer_step_pre_hook(look)
    yield seen
    handle.remove()


@pytest.mark.parametrize("name", TRAINING)
def test_every_trainable_parameter_gets_a_gradient(
    name: str, sources: dict[str, Path], tmp_path: Path, gradients: dict[int, list[bool]]
):
    run(name, sources, tmp_path)
    assert len(gradients) > 20
    without = [steps for steps in gradients.values() if not any(steps)]
    assert not without, f"{len(without)} of {len(gradients)} parameters never had a gradient"


@pytest.mark.parametrize("name", TRAINING)
def test_four_steps_equal_two_a_kill_and_two_more(name: str, sources: dict[str, Path], whole: dict[str, Outcome],
                                                  tmp_path: Path):  # fmt: skip
    with pytest.raises(Killed):
        run(name, sources, tmp_path, kill_at=2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    assert not list((tmp_path / "output").iterdir())
    torch.rand(7)
    resumed = run(name, sources, tmp_path)
    assert resumed.reports[0]["step"] == 2
    assert same(resumed.files, whole[name].files)
    assert same(resumed.result, whole[name].result)


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize(
    "changes", [{"loader_workers": 2}, {"cache_bytes": 0}, {"loop": {"checkpoint_every_steps": 1}}], ids=str
)
def test_what_only_changes_the_speed_changes_no_number(
    name: str, changes: dict[str, Any], sources: dict[str, Path], whole: dict[str, Outcome], tmp_path: Path
):
    if not changes.keys() <= method(name).config.model_fields.keys():
        pytest.skip(f"{name} has no {', '.join(changes)}")
    assert same(run(name, sources, tmp_path, **changes).files, whole[name].files)


def test_an_evaluation_does_not_depend_on_its_batches(sources: dict[str, Path], whole: dict[str, Outcome],
                                                      tmp_path: Path):  # fmt: skip
    expected = whole["evaluation"].result
    for changes in ({"batch_size": 1}, {"loader_workers": 1}):
        found = run("evaluation", sources, tmp_path, **changes).result
        assert found["infomax"] == pytest.approx(expected["infomax"], abs=1e-6)
        assert {**found, "infomax": None} == {**expected, "infomax": None}
    means = [run("evaluation", sources, tmp_path, batch_mean_size=size).result["miou_batchmean"] for size in (3, 1)]
    assert means[0] == pytest.approx(expected["miou_zeros"])
    assert means[1] != means[0]
    assert expected["images"] == 3
    assert sum(expected["confusion"]) <= 3 * 32 * 64


@pytest.mark.parametrize("name", TRAINING)
def test_the_losses_of_six_steps_change_only_with_the_version(
    name: str, sources: dict[str, Path], blocks: Path, tmp_path: Path
):
    sources = {**sources, "toy_city": blocks}
    if "segmenter" in tiny(name).inputs.values():  # As good as untrained: training would enlarge differences, see Tiny.
        run("supervised", sources, tmp_path / "segmenter", **tiny("supervised").record)
        sources["segmenter"] = tmp_path / "segmenter" / "output"
    changes = merge(tiny(name).record, {"loop": {"steps": 6, "score_every_steps": 6, "log_every_steps": 1}})
    curves = json.loads(run(name, sources, tmp_path, **changes).files["curves.json"])
    losses: dict[str, list[float]] = {}
    for _, metric, value in curves:
        losses.setdefault(metric, []).append(value)
    losses = {metric: values for metric, values in sorted(losses.items()) if len(values) == 6}
    assert losses
    version, where = method(name).version, f"VERSION in {METHODS[name]}_config"
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    again = f"NIGHTSHIFT_RECORD=1 pytest {Path(__file__).relative_to(Path(__file__).parents[2])}"
    if os.environ.get("NIGHTSHIFT_RECORD"):
        records[name] = {"version": version, "losses": losses}
        RECORD.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
        pytest.skip(f"recorded the losses of {name}")
    record = records.get(name)
    assert record, f"no losses of {name} are recorded: run {again}"
    assert record["version"] == version, (
        f"the recorded losses are of version {record['version']}, {where} is {version}: run {again}"
    )
    assert losses == {metric: pytest.approx(values, rel=1e-4) for metric, values in record["losses"].items()}, (
        f"the losses of {name} changed and its version did not, so old artifacts would pass for new ones: "
        f"raise {where}, then run {again}"
    )
