"""Two ranks over gloo: one spawned group serves every case, then each is compared with one process."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.contracts import two_networks
from tests.contracts.test_methods import ALL, TIMES, read
from tests.contracts.tiny import SOURCES, TINY, arguments
from tests.trainers.data.miniatures import (
    blocks_in_haze,
    cityscapes_with_depth,
    labels_of_blocks,
    pairs_of_blocks,
)
from tests.trainers.translation.untrained import global_generator
from trainers.components.losses import combined_loss
from trainers.context import SAVE_AND_EXIT, STOP, DistributedContext, PlainContext, TrainContext
from trainers.data.images import SplitImages
from trainers.data.loader import AugmentedSamples, Batch, training_batches
from trainers.data.sampling import derive_seed
from trainers.networks.optimizers import build_optimizer, set_learning_rate
from trainers.networks.segmentation import build_segmenter
from trainers.registry import method
from trainers.segmentation import evaluate, supervised
from trainers.segmentation.evaluate_config import Config as EvaluateConfig
from trainers.segmentation.supervised_config import Config

SEED = 3
CASES = ("frozen", "local")

pytestmark = [pytest.mark.usefixtures("deterministic"), pytest.mark.timeout(1200)]  # One group serves all.


def training(batch_norm: str) -> Config:
    """Dropout is off: each rank draws its own. Plain SGD: Adam divides by tiny numbers and enlarges rounding."""
    return Config.model_validate(
        {
            "train": ["toy_city/day_train"],
            "select": "toy_city/day_val",
            "height": 32,
            "width": 64,
            "batch_norm": batch_norm,
            "precision": "float32",
            "network": {"dropout": 0.0},
            "loss": {"alpha": 0.5, "normalise_focal": True, "focal_class_weights": [0.5] * 9 + [2.0] * 10},
            "optimizer": {"name": "sgd", "learning_rate": 1e-4, "clip_gradient_norm": 20.0},
            "loop": {"steps": 4, "score_every_steps": 4, "log_every_steps": 1, "checkpoint_every_steps": 2},
        }
    )


def evaluation() -> EvaluateConfig:
    return EvaluateConfig.model_validate({"split": "toy_city/day_val", "checkpoint": "final", "batch_size": 2})


def worker(rank: int, folder: Path, toy_city: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for case in CASES:
        context = DistributedContext(folder / case / "checkpoints")
        supervised.run(training(case), {"toy_city": toy_city}, folder / case, SEED, context)
        context.barrier()
    context = DistributedContext(folder / "evaluation")
    inputs = {"toy_city": toy_city, "segmenter": folder / "frozen"}
    result = evaluate.run(evaluation(), inputs, folder, None, context)
    (folder / f"evaluation-{rank}.json").write_text(json.dumps(result))
    for name in ALL:
        run_method(name, folder, toy_city, DistributedContext(folder / "methods" / name / "checkpoints"))
        dist.barrier()
    made = {"adversarial": two_networks.adversarial(context), "batch_norm": two_networks.batch_norm(context)}
    torch.save(
        {**made, "stops": [stopped_by(code, folder, rank) for code in (0, SAVE_AND_EXIT)]}, folder / f"{rank}.pt"
    )
    torch.save({"preempted": preempted(folder, rank)}, folder / f"preempted-{rank}.pt")
    dist.destroy_process_group()


def run_method(name: str, folder: Path, toy_city: Path, context: TrainContext) -> None:
    """Any registered method, as if nothing were known of it; ``folder`` holds a trained segmenter."""
    changes = dict(TINY[name].two_workers)
    if "batch_norm" in method(name).config.model_fields:
        changes["batch_norm"] = "frozen"
    sources = {"toy_city": toy_city, **{name: folder / name for name in SOURCES - {"toy_city"}}}
    module, config, inputs, seed = arguments(name, sources, SEED, changes)
    output = folder / "methods" / name / "output"
    output.mkdir(parents=True, exist_ok=True)
    result = module.run(config, inputs, output, seed, context)
    (folder / "methods" / name / f"result-{context.rank}.json").write_text(json.dumps(result))


def make_sources(folder: Path, toy_city: Path) -> None:
    """What other methods need as an input, made by one process: role → method."""
    sources = {"toy_city": toy_city, **{name: folder / name for name in SOURCES - {"toy_city"}}}
    for source, name in (("translator", "unit"), ("features", "features")):
        module, config, inputs, seed = arguments(name, sources, SEED, {})
        (folder / source).mkdir()
        module.run(config, inputs, folder / source, seed, PlainContext(folder / f"{source}-checkpoints"))


def reports(context: DistributedContext, folder: Path) -> tuple[int, int]:
    """The step at which a training that reports every step ends, and the code with which."""
    for step in range(1, 6):
        try:
            context.report({"step": step}, lambda where: (where / "x").write_text("x"), due=False)
        except SystemExit as stop:
            return step, int(stop.code or 0)
    return 0, 0


def stopped_by(code: int, folder: Path, rank: int) -> tuple[int, int]:
    """Rank 0 is told to stop at its third report; at the second it also reports alone."""

    def listen(metrics: Mapping[str, float | int]) -> None:
        if metrics["step"] == 3 or "alone" in metrics:
            raise SystemExit(code)

    context = DistributedContext(folder / f"stop-{code}", on_report=listen)
    if rank == 0:
        context.report({"step": 0, "alone": 1})
    return reports(context, folder)


def preempted(folder: Path, rank: int) -> tuple[int, int]:
    """The machine is to be given back; every rank hears it at the fourth report."""
    asked = iter(range(1, 10))
    context = DistributedContext(folder / "preempted", preempted=lambda: next(asked) == 4)
    return reports(context, folder)


@pytest.fixture(scope="module")
def two(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two ranks left behind."""
    folder = tmp_path_factory.mktemp("two_workers")
    for case in CASES:
        (folder / case).mkdir()
    (folder / "segmenter").mkdir()
    one_process("frozen", toy_city, folder / "segmenter")
    cityscapes_with_depth(folder / "cityscapes")
    pairs_of_blocks(folder / "dark_zurich")
    labels_of_blocks(folder / "pseudo_labels", "toy_city/night_val", images=3)
    blocks_in_haze(folder / "dehazing")
    global_generator(folder / "global_generator")
    make_sources(folder, toy_city)
    torch.multiprocessing.spawn(worker, args=(folder, toy_city), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def alone(two: Path, toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of every registered method."""
    folder = tmp_path_factory.mktemp("alone")
    for name in SOURCES - {"toy_city"}:
        (folder / name).symlink_to(two / name)
    for name in ALL:
        run_method(name, folder, toy_city, PlainContext(folder / "methods" / name / "checkpoints"))
    return folder


SCORES = {"selection", "select_miou", "best_selection"}
"""Rounding may flip a pixel whose two best classes are level: 5e-6 of such a score on a tiny split, a pixel."""
SCORE_TOLERANCE = 5e-5


def close(a: Any, b: Any, *, absolute: float = 1e-6) -> bool:
    """Equal up to rounding, through dictionaries and sequences; times are not compared."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(
            key in TIMES or close(a[key], b[key], absolute=SCORE_TOLERANCE if key in SCORES else 1e-6) for key in a
        )
    if isinstance(a, list | tuple):
        is_score = len(a) == 3 and isinstance(a[1], str) and a[1] in SCORES  # A point of a curve.
        return len(a) == len(b) and all(
            close(x, y, absolute=SCORE_TOLERANCE if is_score else 1e-6) for x, y in zip(a, b, strict=True)
        )
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6)
    return a == pytest.approx(b, rel=1e-5, abs=absolute) if isinstance(a, float) else bool(a == b)


@pytest.mark.parametrize("name", ALL)
def test_two_ranks_make_what_one_process_makes_with_every_method(name: str, two: Path, alone: Path):
    ours, expected = two / "methods" / name, alone / "methods" / name
    files = written(expected / "output")
    assert files == written(ours / "output")
    for path in files:
        first, second = (contents(root / "output" / path) for root in (ours, expected))
        assert close(first, second), f"{name}: {path} differs"
    results = [json.loads((ours / f"result-{rank}.json").read_text()) for rank in range(2)]
    assert close(results[0], json.loads((expected / "result-0.json").read_text()))
    assert close(results[0], results[1])


def written(output: Path) -> list[Path]:
    """Files but for pictures, which rank 0 draws of its own images."""
    paths = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return sorted(path for path in paths if not path.parts[0].startswith("pictures"))


def contents(path: Path) -> Any:
    return json.loads(path.read_text()) if path.suffix == ".json" else read(path)


def test_two_networks_with_an_optimizer_each_and_a_teacher_equal_one_process(two: Path, tmp_path: Path):
    expected = two_networks.adversarial(PlainContext(tmp_path))
    for rank in range(2):
        found = torch.load(two / f"{rank}.pt", weights_only=True)["adversarial"]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    moved = two_networks.generator()
    assert not torch.equal(expected["forth.0.weight"], expected["teacher.0.weight"])
    assert moved[0].weight.shape == expected["forth.0.weight"].shape


def test_two_forwards_with_batch_norm_equal_their_shards_in_one_process(two: Path, tmp_path: Path):
    ranks = []
    for rank in range(2):
        context = PlainContext(tmp_path)
        context.rank, context.world_size = rank, 2
        ranks.append(context)
    for rank in range(2):
        found = torch.load(two / f"{rank}.pt", weights_only=True)["batch_norm"]
        expected = two_networks.batch_norm_of_shards(ranks[: rank + 1] + ranks[rank + 1 :])
        own = {name: value for name, value in expected.items() if name.startswith("own.")}
        if rank == 1:
            assert not torch.equal(found["1.running_mean"], found["own.1.running_mean"])
            torch.testing.assert_close({name: found[name] for name in own}, own, rtol=1e-5, atol=1e-6)
        kept = {name: value for name, value in expected.items() if not name.startswith("own.")}
        torch.testing.assert_close({name: found[name] for name in kept}, kept, rtol=1e-5, atol=1e-6)


def test_a_stop_reaches_both_ranks_at_the_same_step_and_saves_where_it_is_asked_to(two: Path):
    for rank in range(2):
        assert torch.load(two / f"{rank}.pt", weights_only=True)["stops"] == [(3, STOP), (3, SAVE_AND_EXIT)]
        assert torch.load(two / f"preempted-{rank}.pt", weights_only=True)["preempted"] == (4, SAVE_AND_EXIT)
    assert not list((two / "stop-0").glob("step-*"))
    assert [path.name for path in (two / f"stop-{SAVE_AND_EXIT}").glob("step-*")] == ["step-00000003"]
    assert [path.name for path in (two / "preempted").glob("step-*")] == ["step-00000004"]


def curves(folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _, name, value in json.loads((folder / "curves.json").read_text()):
        found.setdefault(name, []).append(value)
    return found


def final(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(folder / "final.pt", weights_only=True)["weights"]
    return weights


def same_losses(a: Mapping[str, list[float]], b: Mapping[str, list[float]]) -> bool:
    return a.keys() == b.keys() and all(a[name] == pytest.approx(b[name], rel=1e-5) for name in a)


def one_process(case: str, toy_city: Path, folder: Path) -> Path:
    supervised.run(training(case), {"toy_city": toy_city}, folder, SEED, PlainContext(folder / "checkpoints"))
    return folder


def test_without_batch_statistics_two_ranks_equal_one_process(two: Path, toy_city: Path, tmp_path: Path):
    expected = one_process("frozen", toy_city, tmp_path)
    assert same_losses(curves(two / "frozen"), curves(expected))
    torch.testing.assert_close(final(two / "frozen"), final(expected), rtol=1e-5, atol=1e-6)


def test_batch_statistics_of_the_whole_batch_would_differ(two: Path, toy_city: Path, tmp_path: Path):
    """So the next test can fail."""
    assert not same_losses(curves(two / "local"), curves(one_process("local", toy_city, tmp_path)))


def shards(samples: AugmentedSamples, config: Config) -> Iterator[list[Batch]]:
    """The two ranks' shares of each batch."""
    streams = []
    for rank in range(2):
        context = PlainContext(Path("unused"))
        context.rank, context.world_size = rank, 2
        steps = range(1, config.loop.steps + 1)
        streams.append(training_batches(samples, steps=steps, batch_size=config.batch_size, workers=0, context=context))
    for parts in zip(*streams, strict=True):
        yield list(parts)


def two_shards_in_one_process(config: Config, toy_city: Path) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Losses, and the weights with the statistics of the first shard: one set of parameters, two of statistics."""
    images = SplitImages({"toy_city": toy_city}, config.train[0], height=config.height, width=config.width)
    samples = AugmentedSamples([images], config.augmentation, batch_size=config.batch_size, seed=SEED)
    torch.manual_seed(derive_seed(SEED, "initialization"))
    segmenter = build_segmenter(config.network, pretrained=False).train()
    optimizer = build_optimizer(segmenter, config.optimizer)
    parameters = dict(segmenter.named_parameters())
    statistics = [{name: value.clone() for name, value in segmenter.named_buffers()} for _ in range(2)]
    losses: dict[str, list[float]] = {}
    for step, parts in enumerate(shards(samples, config), start=1):
        set_learning_rate(optimizer, config.optimizer, step, steps=config.loop.steps)
        logits = [
            torch.func.functional_call(segmenter, {**parameters, **statistics[rank]}, (part.images,))
            for rank, part in enumerate(parts)
        ]
        labels = torch.cat([part.labels for part in parts])
        batch_losses = combined_loss(torch.cat(logits), labels, config.loss)
        optimizer.zero_grad()
        batch_losses["loss"].backward()
        nn.utils.clip_grad_norm_(segmenter.parameters(), config.optimizer.clip_gradient_norm or torch.inf)
        optimizer.step()
        for name, value in batch_losses.items():
            losses.setdefault(name, []).append(value.item())
    return losses, {**{name: value.detach() for name, value in parameters.items()}, **statistics[0]}


def test_with_local_statistics_two_ranks_equal_their_shards_in_one_process(two: Path, toy_city: Path):
    losses, weights = two_shards_in_one_process(training("local"), toy_city)
    found = curves(two / "local")
    found.pop("selection")
    assert same_losses(found, losses)
    ours = final(two / "local")
    assert ours.keys() == weights.keys()
    for name, expected in weights.items():
        # The deepest statistics are those of four values, so that rounding is a larger share of them.
        share = 1e-4 if "running" in name else 1e-5
        atol = 1e-6 + share * float(expected.double().abs().max())
        torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=atol, msg=name)


def test_an_evaluation_counts_each_image_once(two: Path, toy_city: Path, tmp_path: Path):
    """Three images for two ranks; both hold the same sums."""
    inputs = {"toy_city": toy_city, "segmenter": two / "frozen"}
    expected = evaluate.run(evaluation(), inputs, tmp_path, None, PlainContext(tmp_path))
    results: list[dict[str, Any]] = [json.loads((two / f"evaluation-{rank}.json").read_text()) for rank in range(2)]
    assert results[0] == results[1]
    assert results[0]["images"] == 3
    assert results[0]["confusion"] == expected["confusion"]
    assert results[0]["miou"] == expected["miou"]
    assert results[0]["infomax"] == pytest.approx(expected["infomax"], abs=1e-6)


@pytest.mark.parametrize(
    "case",
    [
        "frozen",
        "local",
    ],
)
def test_the_selection_is_the_score_of_the_weights_that_are_kept(case: str, two: Path, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "segmenter": two / case}
    expected = evaluate.run(evaluation(), inputs, tmp_path, None, PlainContext(tmp_path))
    assert curves(two / case)["selection"] == [expected["miou"]]
