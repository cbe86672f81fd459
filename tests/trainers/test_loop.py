import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.checkpoint import load_state
from trainers.context import SAVE_AND_EXIT, PlainContext
from trainers.data.loader import Batch
from trainers.errors import Diverged, UserError
from trainers.loop import train
from trainers.loop_config import LoopConfig


class Killed(BaseException):
    """Like a signal: nothing in between may catch it."""


class Walk:
    """A vector that follows the batches with momentum and draws noise in every step."""

    def __init__(self, selections: Mapping[int, float] | None = None, losses: Mapping[int, float] | None = None):
        self.position, self.velocity = torch.zeros(3), torch.zeros(3)
        self.step = 0
        self.selections, self.losses = selections, losses or {}
        self.steps: list[int] = []

    def train_step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        self.velocity = 0.9 * self.velocity + batch.images.float().mean(dim=(0, 2, 3)) + torch.rand(3)
        self.position += 0.1 * self.velocity  # In place, as optimizers do.
        self.step = step
        self.steps.append(step)
        return {"loss": torch.tensor(self.losses.get(step, 0.0)) + self.position.sum(), "noise": self.velocity.max()}

    def score(self) -> Mapping[str, float]:
        value = float(self.position[0]) if self.selections is None else self.selections[self.step]
        return {"selection": value, "other": 2 * value}

    def weights(self) -> dict[str, Tensor]:
        return {"position": self.position}

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "velocity": self.velocity, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position, self.velocity, self.step = state["position"], state["velocity"], state["step"]


def batches(steps: range) -> Iterator[Batch]:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randint(256, (2, 3, 2, 2), dtype=torch.uint8, generator=generator)
        yield Batch(images, torch.zeros(2, 2, 2, dtype=torch.uint8))


def run(
    folder: Path, learner: Walk, *, seed: int = 0, kill_at: int | None = None, **fields: int
) -> tuple[dict[str, Any], list[Mapping[str, float]]]:
    """Train in ``folder`` and return the result and the reports; ``kill_at`` dies when that step is reported."""
    reports: list[Mapping[str, float]] = []

    def listen(metrics: Mapping[str, float]) -> None:
        reports.append(dict(metrics))
        if metrics["step"] == kill_at and "resumed" not in metrics:
            raise Killed

    folder.mkdir(exist_ok=True)
    context = PlainContext(folder / "checkpoints", on_report=listen)
    config = LoopConfig(
        **{"steps": 4, "score_every_steps": 2, "log_every_steps": 3, "checkpoint_every_steps": 2, **fields}
    )
    try:
        result = train(learner, batches, config, batch_size=2, seed=seed, output=folder, context=context)
    finally:
        context.settle()
    return result, reports


def read(folder: Path) -> dict[str, Any]:
    return {"curves": json.loads((folder / "curves.json").read_text())} | {
        name: load_state(folder / f"{name}.pt") for name in ("best", "final")
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["curves"] == b["curves"] and all(
        a[name]["step"] == b[name]["step"]
        and torch.equal(a[name]["weights"]["position"], b[name]["weights"]["position"])
        for name in ("best", "final")
    )


def test_a_whole_run_leaves_weights_curves_and_reports(tmp_path: Path):
    result, reports = run(tmp_path, Walk())
    files = read(tmp_path)
    assert files["final"]["step"] == files["best"]["step"] == result["best_step"] == result["steps"] == 4
    assert result["best_selection"] == float(files["best"]["weights"]["position"][0])
    logged = [(step, name) for step, name, _ in files["curves"]]
    assert logged == [(2, "selection"), (2, "other"), (3, "loss"), (3, "noise"), (4, "loss"), (4, "noise"),
                      (4, "selection"), (4, "other")]  # fmt: skip
    assert [report["step"] for report in reports] == [2, 3, 4]
    assert all(report["steps"] == 4 for report in reports)
    assert "loss" not in reports[0]
    assert reports[-1]["loss"] == files["curves"][4][2]
    assert result["peak_memory_bytes"] is None


def test_a_curve_holds_means_since_its_last_entry(tmp_path: Path):
    run(tmp_path / "each", Walk(), log_every_steps=1)
    run(tmp_path / "mean", Walk(), log_every_steps=3)
    each, mean = (
        [value for _, name, value in read(tmp_path / which)["curves"] if name == "loss"] for which in ("each", "mean")
    )
    assert mean == pytest.approx([sum(each[:3]) / 3, each[3]])


@pytest.mark.parametrize(("log", "score"), [(3, 2), (1, 1), (4, 3)])
def test_four_steps_equal_two_a_kill_and_two_more(tmp_path: Path, log: int, score: int):
    """Also where the kill falls between two entries on the curves."""
    fields = {"log_every_steps": log, "score_every_steps": score}
    expected, _ = run(tmp_path / "whole", Walk(), **fields)
    with pytest.raises(Killed):
        run(tmp_path / "torn", Walk(), kill_at=2, **fields)
    torch.rand(5)  # The global generator of a new process stands elsewhere.
    learner = Walk()
    result, _ = run(tmp_path / "torn", learner, **fields)
    assert learner.steps == [3, 4]
    assert same(read(tmp_path / "torn"), read(tmp_path / "whole"))
    assert {**result, "seconds": 0, "images_per_second": 0} == {**expected, "seconds": 0, "images_per_second": 0}
    run(tmp_path / "other", Walk(), seed=1, **fields)
    assert not same(read(tmp_path / "other"), read(tmp_path / "whole"))


def test_a_kill_between_checkpoints_repeats_the_steps_since(tmp_path: Path):
    run(tmp_path / "whole", Walk(), log_every_steps=1)
    with pytest.raises(Killed):
        run(tmp_path / "torn", Walk(), kill_at=3, log_every_steps=1)
    learner = Walk()
    run(tmp_path / "torn", learner, log_every_steps=1)
    assert learner.steps == [3, 4]
    assert same(read(tmp_path / "torn"), read(tmp_path / "whole"))


def test_a_kill_after_the_last_checkpoint_only_writes_the_output(tmp_path: Path):
    run(tmp_path / "whole", Walk())
    with pytest.raises(Killed):
        run(tmp_path / "torn", Walk(), kill_at=4)
    assert not (tmp_path / "torn" / "final.pt").exists()
    learner = Walk()
    result, reports = run(tmp_path / "torn", learner)
    assert learner.steps == []
    assert [report["step"] for report in reports] == [4]
    assert result["steps"] == 4
    assert math.isfinite(result["images_per_second"])
    assert same(read(tmp_path / "torn"), read(tmp_path / "whole"))


def test_the_resumed_step_is_reported_first(tmp_path: Path):
    with pytest.raises(Killed):
        run(tmp_path, Walk(), kill_at=2)
    _, reports = run(tmp_path, Walk())
    assert [(report["step"], report.get("resumed")) for report in reports] == [(2, 1.0), (3, None), (4, None)]


def test_a_torn_checkpoint_is_an_error_and_never_a_fresh_start(tmp_path: Path):
    with pytest.raises(Killed):
        run(tmp_path, Walk(), kill_at=2)
    state = tmp_path / "checkpoints" / "step-00000002" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    learner = Walk()
    with pytest.raises(UserError, match=str(state)):
        run(tmp_path, learner)
    assert learner.steps == []
    assert state.exists()


def test_of_equal_scores_the_earliest_is_kept(tmp_path: Path):
    selections = {1: 0.1, 2: 0.5, 3: 0.5, 4: 0.2}
    result, _ = run(tmp_path, Walk(selections), score_every_steps=1)
    assert (result["best_step"], result["best_selection"]) == (2, 0.5)
    best, final = read(tmp_path)["best"], read(tmp_path)["final"]
    assert (best["step"], final["step"]) == (2, 4)
    assert not torch.equal(best["weights"]["position"], final["weights"]["position"])


def test_the_last_step_is_scored_logged_and_kept_whatever_the_distances(tmp_path: Path):
    _, reports = run(tmp_path, Walk(), score_every_steps=9, log_every_steps=9, checkpoint_every_steps=9)
    assert [report["step"] for report in reports] == [4]
    assert {name for step, name, _ in read(tmp_path)["curves"] if step == 4} == {"loss", "noise", "selection", "other"}
    assert (tmp_path / "checkpoints" / "step-00000004").is_dir()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_itself_and_the_step(tmp_path: Path, value: float):
    with pytest.raises(Diverged, match=rf"^loss is {value} at step 3 of 4$"):
        run(tmp_path, Walk(losses={2: value}), checkpoint_every_steps=9)
    assert not (tmp_path / "final.pt").exists()


def test_no_checkpoint_holds_what_has_diverged(tmp_path: Path):
    """Also where a checkpoint is due between two entries on the curves."""
    with pytest.raises(Diverged, match=r"^loss is nan at step 2 of 4$"):
        run(tmp_path, Walk(losses={2: math.nan}), log_every_steps=9, checkpoint_every_steps=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_stop_that_asks_to_save_leaves_a_checkpoint_that_was_not_due(tmp_path: Path):
    def stop(code: int, folder: Path) -> None:
        def on_report(metrics: object) -> None:
            raise SystemExit(code)

        context = PlainContext(folder, on_report=on_report)
        config = LoopConfig(steps=4, log_every_steps=2, score_every_steps=4, checkpoint_every_steps=4)
        with pytest.raises(SystemExit):
            train(Walk(), batches, config, batch_size=2, seed=0, output=tmp_path, context=context)

    stop(SAVE_AND_EXIT, tmp_path / "saved")
    stop(0, tmp_path / "pruned")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["step-00000002"]
    assert not (tmp_path / "pruned").exists()


def test_a_stop_out_of_a_report_is_not_swallowed(tmp_path: Path):
    context = PlainContext(tmp_path / "checkpoints", on_report=lambda _: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        train(Walk(), batches, LoopConfig(steps=2), batch_size=2, seed=0, output=tmp_path, context=context)


def test_a_checkpoint_is_refused_when_its_guard_refuses(tmp_path: Path):
    def lost() -> None:
        raise Killed

    context = PlainContext(tmp_path / "checkpoints", guard=lost)
    with pytest.raises(Killed):
        train(Walk(), batches, LoopConfig(steps=2), batch_size=2, seed=0, output=tmp_path, context=context)
    assert context.resume() is None
