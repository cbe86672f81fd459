"""The one training loop: resume, step, score, keep the best, checkpoint, report.

A method gives a ``Learner`` (its networks, optimizers and ``train_step``); what all methods share happens here,
once. Random numbers are re-seeded from (seed, step, rank) before each step, so a run that continues from a checkpoint
computes bit for bit what the uninterrupted run computes.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trainers.checkpoint import cure, load_state, save_state
from trainers.context import TrainContext
from trainers.data.loader import Batch
from trainers.data.sampling import derive_seed
from trainers.errors import Diverged
from trainers.loop_config import LoopConfig


@runtime_checkable
class Learner(Protocol):
    """What a method trains."""

    def train_step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """One optimizer step; the losses as scalars that stay on the device (this rank's share of their sum)."""
        ...

    def score(self) -> Mapping[str, float]:
        """Scores on the selection split, among them ``selection``; higher is better."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """What the artifact keeps."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        ...


@dataclass
class Progress:
    """What the loop itself remembers over a restart."""

    step: int = 0
    seconds: float = 0.0
    """Spent in training steps and loading, over all attempts that count."""
    best_step: int = 0
    best_selection: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curves: list[tuple[int, str, float]] = field(default_factory=list)
    """(step, metric, value)."""
    loss_sums: dict[str, Tensor] = field(default_factory=dict)
    """Since the last entry on the curves."""


def train(
    learner: Learner,
    batches: Callable[[range], Iterator[Batch]],
    config: LoopConfig,
    *,
    batch_size: int,
    seed: int,
    output: Path,
    context: TrainContext,
) -> dict[str, Any]:
    """Train to the end from wherever the last checkpoint stands; write ``final.pt``, ``best.pt``, ``curves.json``.

    Returns:
        ``steps``, ``best_step``, ``selection`` of the best and last step, ``images_per_second``, ``seconds``,
        ``peak_memory_bytes`` of the device (``None`` on a CPU).

    Raises:
        Diverged: a loss is not finite.
        UserError: a checkpoint exists but cannot be read.
    """
    progress = _resume(learner, config, batch_size, context)
    _synchronise(context)
    saved = mark = time.monotonic()
    remaining = range(progress.step + 1, config.steps + 1)
    for step, batch in zip(remaining, batches(remaining), strict=True):
        seed_device(context.device, derive_seed(seed, "step", step, context.rank))
        losses = learner.train_step(batch, step)
        for name, value in losses.items():
            progress.loss_sums[name] = progress.loss_sums.get(name, torch.zeros_like(value)) + value.detach()
        progress.step = step
        last = step == config.steps
        if step % config.log_every_steps == 0 or last:
            _log_losses(progress, config, context)
        progress.seconds += time.monotonic() - mark
        if step % config.score_every_steps == 0 or last:
            _score(learner, progress)
        at = (config.log_every_steps, config.score_every_steps, config.checkpoint_every_steps)
        if last or any(step % every == 0 for every in at):
            late = time.monotonic() - saved > config.checkpoint_every_seconds
            due = last or late or step % config.checkpoint_every_steps == 0
            if step % config.checkpoint_every_steps == 0 and progress.loss_sums:
                _finite_means(progress, config, context)  # No checkpoint ever holds what has diverged.
            context.report(_numbers(progress, batch_size, config.steps), _writer(learner, progress), due=due)
            saved = time.monotonic() if due else saved
        mark = time.monotonic()
    if context.rank == 0:
        _write_output(learner, progress, output)
    return {
        "steps": config.steps,
        "best_step": progress.best_step,
        "best_selection": progress.best_selection,
        "seconds": progress.seconds,
        "images_per_second": config.steps * batch_size / progress.seconds,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if context.device.type == "cuda" else None,
    }


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators that a step on ``device`` draws from; ``torch.manual_seed`` seeds every kind of device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _resume(learner: Learner, config: LoopConfig, batch_size: int, context: TrainContext) -> Progress:
    folder = context.resume()
    if folder is None:
        return Progress()
    state = load_state(folder / "state.pt", cure(folder))
    learner.load_state_dict(state["learner"])
    progress = Progress(**state["progress"])
    progress.curves = [(int(step), str(name), float(value)) for step, name, value in progress.curves]
    progress.loss_sums = {name: value.to(context.device) for name, value in progress.loss_sums.items()}
    # Whoever listens may have died before it heard of this step.
    context.report({**_numbers(progress, batch_size, config.steps), "resumed": 1.0})
    return progress


def _log_losses(progress: Progress, config: LoopConfig, context: TrainContext) -> None:
    """Move the mean losses since the last entry to the curves: the only wait for the device in a step."""
    means = _finite_means(progress, config, context)
    progress.loss_sums = {}
    progress.curves += [(progress.step, name, mean) for name, mean in means.items()]


def _finite_means(progress: Progress, config: LoopConfig, context: TrainContext) -> dict[str, float]:
    """Mean of each loss since the last entry on the curves, over all ranks; raises ``Diverged`` where one is not."""
    names = sorted(progress.loss_sums)
    since = (progress.step - 1) % config.log_every_steps + 1
    means = (context.all_reduce(torch.stack([progress.loss_sums[name] for name in names])) / since).tolist()
    for name, mean in zip(names, means, strict=True):
        if not math.isfinite(mean):
            raise Diverged(f"{name} is {mean} at step {progress.step} of {config.steps}")
    return dict(zip(names, means, strict=True))


def _score(learner: Learner, progress: Progress) -> None:
    scores = learner.score()
    progress.curves += [(progress.step, name, value) for name, value in scores.items()]
    if scores["selection"] > progress.best_selection:  # Of equals the earlier one stays.
        progress.best_step, progress.best_selection = progress.step, scores["selection"]
        progress.best_weights = {name: value.detach().cpu().clone() for name, value in learner.weights().items()}


def _numbers(progress: Progress, batch_size: int, steps: int) -> dict[str, float | int]:
    """The newest value of every curve, and the step at which ``selection`` was scored."""
    newest = {name: value for _, name, value in progress.curves}
    scored = [step for step, name, _ in progress.curves if name == "selection"]
    if scored:
        newest["selection_step"] = scored[-1]
    rate = progress.step * batch_size / progress.seconds if progress.seconds else 0.0
    return {**newest, "step": progress.step, "steps": steps, "images_per_second": rate}


def _writer(learner: Learner, progress: Progress) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        save_state(folder / "state.pt", {"learner": learner.state_dict(), "progress": vars(progress)})

    return write


def _write_output(learner: Learner, progress: Progress, output: Path) -> None:
    final = {name: value.detach().cpu() for name, value in learner.weights().items()}
    save_state(output / "final.pt", {"weights": final, "step": progress.step})
    save_state(output / "best.pt", {"weights": progress.best_weights, "step": progress.best_step})
    (output / "curves.json").write_text(json.dumps(progress.curves))


def _synchronise(context: TrainContext) -> None:
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
