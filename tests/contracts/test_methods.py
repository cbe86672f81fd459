"""What every method of the registry keeps, over a tiny configuration of each.

To add a method: an entry in ``tiny.TINY``, then record its losses with ``NIGHTSHIFT_RECORD=1`` (see the last test).
"""

import inspect
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.contracts.tiny import SOURCES, arguments, merge, tiny
from tests.trainers.data.miniatures import (
    blocks_in_haze,
    cityscapes_with_depth,
    labels_of_blocks,
    pairs_of_blocks,
)
from tests.trainers.translation.untrained import global_generator
from trainers import distributed
from trainers.config import Config
from trainers.context import PlainContext
from trainers.registry import METHODS, method

RECORD = Path(__file__).with_name("recorded_losses.json")
TIMES = {"seconds", "images_per_second", "peak_memory_bytes"}
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


SEGMENTERS = [name for name in TRAINING if {"batch_norm", "network"} <= method(name).config.model_fields.keys()]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_with_frozen_scales_and_shifts_statistics_follow_and_all_else_learns(
    name: str,
    sources: dict[str, Path],
    tmp_path: Path,
    gradients: dict[int, list[bool]],
    monkeypatch: pytest.MonkeyPatch,
):
    first: dict[str, torch.Tensor] = {}
    prepare = distributed.prepare

    def remember(network: torch.nn.Module, *options: Any, **more: Any) -> torch.nn.Module:
        if hasattr(network, "encoder_parameters"):
            first.update({one: value.detach().clone() for one, value in network.state_dict().items()})
        return prepare(network, *options, **more)

    monkeypatch.setattr(distributed, "prepare", remember)
    run(name, sources, tmp_path, batch_norm="frozen_affine", optimizer={"decay_norms_and_biases": False})
    assert all(any(steps) for steps in gradients.values())
    last = torch.load(tmp_path / "output" / "final.pt", weights_only=True)["weights"]
    norms = [one.removesuffix("running_mean") for one in last if ".encoder." in one and one.endswith("running_mean")]
    assert len(norms) > 10
    for norm in norms:
        assert not torch.equal(last[f"{norm}running_mean"], first[f"{norm}running_mean"])
        assert torch.equal(last[f"{norm}weight"], first[f"{norm}weight"])
        assert torch.equal(last[f"{norm}bias"], first[f"{norm}bias"])
    assert not torch.equal(last["network.encoder.conv1.weight"], first["network.encoder.conv1.weight"])


WITHOUT_SEGMENTER = {
    "features": {"features": "vgg16@relu1_2:random"},
    "unit": {"features": "vgg16@relu1_2:random"},
    "pix2pixhd": {"weights": {"perceptual": 0.0}},
    "dfs": {"weights": {"segmentation": 0.0, "perceptual": 0.0, "pixel": 1.0}, "select_by": "psnr"},
}


@pytest.mark.parametrize("name", sorted(WITHOUT_SEGMENTER))
def test_an_input_that_a_configuration_does_not_read_may_be_absent(name: str, sources: dict[str, Path], tmp_path: Path):
    changes = WITHOUT_SEGMENTER[name]
    module, config, inputs, seed = arguments(name, sources, 0, changes)
    assert "segmenter" in inputs
    read = {role: folder for role, folder in inputs.items() if config.reads_input(role)}
    assert read.keys() == inputs.keys() - {"segmenter"}
    module.check(config, read)
    (tmp_path / "output").mkdir()
    assert module.run(config, read, tmp_path / "output", seed, PlainContext(tmp_path / "checkpoints"))


@pytest.mark.parametrize("name", ALL)
def test_every_input_of_a_tiny_configuration_is_read(name: str):
    config = method(name).config.model_validate(tiny(name).config)
    assert [role for role in tiny(name).inputs if not config.reads_input(role)] == []


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


SPEED = [{"loader_workers": 2}, {"cache_bytes": 0}, {"loop": {"checkpoint_every_steps": 1}}]
READ_THEIR_OWN_WAY = {"supervised", "dacs", "bimix", "unit", "pix2pixhd", "dfs", "self_training"}
"""The other methods read what one of these reads, through the same loader; they wait for `make test-slow`, as what is
the same code in every method does for all but one."""


def is_slow(name: str, changes: Mapping[str, Any]) -> bool:
    """Whether a case waits for `make test-slow`."""
    return name not in (READ_THEIR_OWN_WAY if "loader_workers" in changes else {"supervised", "unit"})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(name, changes, id=f"{changes}-{name}", marks=pytest.mark.slow if is_slow(name, changes) else [])
        for name in TRAINING
        for changes in SPEED
        if changes.keys() <= method(name).config.model_fields.keys()
    ],
)
def test_what_only_changes_the_speed_changes_no_number(
    name: str, changes: dict[str, Any], sources: dict[str, Path], whole: dict[str, Outcome], tmp_path: Path
):
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
        pytest.skip(f"recorded the losses of {name}")  # What has just been written proves nothing: not a pass.
    record = records.get(name)
    assert record, f"no losses of {name} are recorded: run {again}"
    assert record["version"] == version, (
        f"the recorded losses are of version {record['version']}, {where} is {version}: run {again}"
    )
    assert losses == {metric: pytest.approx(values, rel=1e-4) for metric, values in record["losses"].items()}, (
        f"the losses of {name} changed and its version did not, so old artifacts would pass for new ones: "
        f"raise {where}, then run {again}"
    )
