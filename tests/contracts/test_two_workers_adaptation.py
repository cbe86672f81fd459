"""Two ranks over gloo train the adaptation methods as one process does, where no batch statistics enter."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.trainers.data.miniatures import pairs_of_blocks
from trainers.context import DistributedContext, PlainContext, TrainContext
from trainers.data.datasets import DataSplit
from trainers.data.label_files import LabelFiles
from trainers.registry import method

SEED = 3
COMMON: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/day_val",
    "target": "toy_city/night_val",
    "height": 32,
    "width": 64,
    "batch_norm": "frozen",
    "precision": "float32",
    "network": {"dropout": 0.0},
    "optimizer": {"name": "sgd", "learning_rate": 1e-4, "clip_gradient_norm": 20.0},
    "loop": {"steps": 4, "score_every_steps": 4, "log_every_steps": 1, "checkpoint_every_steps": 2},
}
PAIRS: dict[str, Any] = {
    "target": "dark_zurich/pairs",
    "light": {"patch": 8, "target_weight": 1.0},
    "adversarial": {"width": 4, "weight": 0.5, "learning_rate": 1e-5},
}
MIXES: dict[str, Any] = {
    "source_to_night": {"weight": 0.5, "threshold": 0.3},
    "day_to_night": {"consistency_weight": 0.5, "light_weight": 0.1},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fda": ("fda", {"beta": 0.05, "entropy_weight": 1.0}),
    "dacs": ("dacs", {"threshold": 0.5, "teacher": {"rate": 0.4}, "masked": {"weight": 0.5, "patch": 8}}),
    "dannet": ("dannet", {**PAIRS, "relighting": {"kind": "curves", "width": 4}}),
    "bimix_as_released": ("bimix", {**PAIRS, **MIXES, "relighting": {"width": 4}, "as_released": True}),
    "bimix_clean": ("bimix", {**PAIRS, **MIXES, "relighting": {"kind": "curves", "width": 4}}),
    "bimix_no_relighting": (
        "bimix",
        {**PAIRS, **MIXES, "relighting": {"kind": "none"}, "day_to_night": {"consistency_weight": 0.0}},
    ),
}
LABELS = {"target": "toy_city/night_val", "height": 32, "width": 64, "batch_size": 1}

pytestmark = [pytest.mark.usefixtures("deterministic"), pytest.mark.timeout(1200)]  # One group serves all.


def run(name: str, fields: dict[str, Any], toy_city: Path, folder: Path, context: TrainContext) -> dict[str, Any]:
    kind = method(name)
    inputs = {"toy_city": toy_city}
    if fields.get("target") == "dark_zurich/pairs":
        inputs["dark_zurich"] = toy_city.parent / "dark_zurich_of_blocks"
    if name == "pseudo_labels":
        inputs["segmenter"] = folder.parent / "fda"
    seed = None if kind.seed_from is None else SEED
    result: dict[str, Any] = kind.load().run(kind.config.model_validate(fields), inputs, folder, seed, context)
    return result


def worker(rank: int, folder: Path, toy_city: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for case, (name, fields) in CASES.items():
        context = DistributedContext(folder / case / "checkpoints")
        run(name, {**COMMON, **fields}, toy_city, folder / case, context)
        context.barrier()
    context = DistributedContext(folder / "labels" / "checkpoints")
    result = run("pseudo_labels", LABELS, toy_city, folder / "labels", context)
    (folder / f"labels-{rank}.json").write_text(json.dumps(result))
    context.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two ranks left behind."""
    folder = tmp_path_factory.mktemp("two_workers")
    pairs_of_blocks(toy_city.parent / "dark_zurich_of_blocks")
    for case in (*CASES, "labels"):
        (folder / case).mkdir()
    torch.multiprocessing.spawn(worker, args=(folder, toy_city), nprocs=2)
    return folder


def curves(folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _, name, value in json.loads((folder / "curves.json").read_text()):
        found.setdefault(name, []).append(value)
    return found


def final(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / "final.pt", weights_only=True)["weights"]
    return weights


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(case: str, two: Path, toy_city: Path, tmp_path: Path):
    name, fields = CASES[case]
    run(name, {**COMMON, **fields}, toy_city, tmp_path, PlainContext(tmp_path / "checkpoints"))
    found, expected = curves(two / case), curves(tmp_path)
    assert found.keys() == expected.keys()
    for metric in expected:
        assert found[metric] == pytest.approx(expected[metric], rel=1e-4, abs=1e-6), metric
    torch.testing.assert_close(final(two / case), final(tmp_path), rtol=1e-5, atol=1e-6)


def test_two_ranks_label_every_image_once_with_the_thresholds_of_all(two: Path, toy_city: Path, tmp_path: Path):
    (tmp_path / "fda").symlink_to(two / "fda")
    (tmp_path / "labels").mkdir()
    expected = run("pseudo_labels", LABELS, toy_city, tmp_path / "labels", PlainContext(tmp_path / "checkpoints"))
    results = [json.loads((two / f"labels-{rank}.json").read_text()) for rank in range(2)]
    assert results[0] == results[1] == json.loads(json.dumps(expected))
    split = DataSplit(dataset="toy_city", split="night_val")
    files = LabelFiles.open(two / "labels", split, images=3, height=32, width=64)
    for index in range(3):
        assert (
            files.path(index).read_bytes()
            == (tmp_path / "labels" / files.path(index).relative_to(files.folder)).read_bytes()
        )
