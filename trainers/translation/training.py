"""What translators share in training: optimizers, noise, pictures, and an eye on what goes wrong.

Shape legend: n images of this rank, h height, w width.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trainers import distributed
from trainers.components.configs import AugmentationConfig
from trainers.context import TrainContext
from trainers.errors import MethodWarning, UserError
from trainers.loop_config import LoopConfig
from trainers.pictures import write_panel
from trainers.translation.configs import TranslatorOptimizerConfig

SETTLED = 200
"""Steps in which translations may look like anything."""

COLLAPSED = 0.995
"""A share of patches judged right, over all steps between two scores, from which on generators learn nothing."""

SHIFTED = 64.0
"""Grey levels between the channel means of translations and of the domain that they shall look like."""

INVERTED = -0.1
"""Correlation of the brightness of images and of their translations below which bright has become dark."""


def signed(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """0…255 → [-1, 1]."""
    return images.float() / 127.5 - 1


def as_bytes(images: Float[Tensor, "*n 3 h w"]) -> UInt8[Tensor, "*n 3 h w"]:
    """[-1, 1] → 0…255, rounded; the range is fixed, never stretched to what an image happens to hold."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def build_optimizer(parameters: Iterable[nn.Parameter], config: TranslatorOptimizerConfig) -> torch.optim.Optimizer:
    """One group with all ``parameters``."""
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.beta1, **options)
    return torch.optim.Adam(parameters, betas=(config.beta1, 0.999), **options)


def set_learning_rate(
    optimizers: Sequence[torch.optim.Optimizer], config: TranslatorOptimizerConfig, step: int, *, steps: int
) -> None:
    """Set the rate of ``step`` (1 … steps)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.factor(step, steps)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, context: TrainContext) -> None:
    """One step down a loss of which this rank holds its share."""
    optimizer.zero_grad(set_to_none=True)
    distributed.backward(loss, context)
    optimizer.step()


def load_parts(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Give networks and optimizers, by name, their state of a checkpoint.

    Raises:
        UserError: it is another network's.
    """
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"the checkpoint does not fit this translator: {str(error).splitlines()[0]}") from error


def check_crop(augmentation: AugmentationConfig, height: int, width: int) -> None:
    """Refuse crops that reach beyond an image of ``height`` × ``width``: both networks would learn the black there.

    Raises:
        UserError: with the largest that fits.
    """
    for name, side, cropped in (
        ("height", height, augmentation.crop_height),
        ("width", width, augmentation.crop_width),
    ):
        least = round(side * augmentation.scale_min)
        if (cropped or side) > least:
            shrunk = f", shrunk to {least} by augmentation.scale_min {augmentation.scale_min:g}" if least < side else ""
            raise UserError(
                f"a crop of {name} {cropped or side} is larger than the image's {side}{shrunk}; set "
                f"augmentation.crop_{name} to {least} at most"
            )


def check_workers(batch_size: int, context: TrainContext) -> None:
    """Refuse workers that cannot share a batch."""
    if batch_size % context.world_size:
        raise UserError(f"batch_size {batch_size} does not divide among {context.world_size} workers evenly")


def draw_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device) -> Float[Tensor, "n ..."]:
    """Standard normal numbers for each image of this rank, from a seed of its own whatever the number of ranks."""
    generators = (torch.Generator(device).manual_seed(seed) for seed in seeds)
    return torch.stack([torch.randn(*shape, generator=generator, device=device) for generator in generators])


class Panels:
    """A few pictures of a training, evenly spaced; nothing waits for the device before a score does."""

    def __init__(self, count: int, loop: LoopConfig) -> None:
        self._count, self._loop = count, loop
        self._tiles: tuple[int, Mapping[str, Tensor]] | None = None
        self.kept: dict[str, dict[str, Tensor]] = {}

    def show(self, step: int, tiles: Mapping[str, Float[Tensor, "3 h w"]]) -> None:
        """Remember the tiles (in [-1, 1]) of this step, if it is one whose panel is kept."""
        steps, every = self._loop.steps, self._loop.score_every_steps
        before = (step - 1) // every * every
        is_scored = step % every == 0 or step == steps
        if is_scored and self._count * step // steps > self._count * before // steps:
            self._tiles = (step, {kind: tile.detach() for kind, tile in tiles.items()})

    def keep(self) -> None:
        """Move what was remembered off the device."""
        if self._tiles is not None:
            step, tiles = self._tiles
            self.kept[str(step)] = {kind: as_bytes(tile).cpu() for kind, tile in tiles.items()}
        self._tiles = None

    def write(self, output: Path, caption: str) -> None:
        """Also those from before a restart."""
        for step, tiles in self.kept.items():
            pictures = {kind: np.ascontiguousarray(tile.permute(1, 2, 0).numpy()) for kind, tile in tiles.items()}
            write_panel(output, f"step-{int(step):08d}", pictures, title=f"step {step}", caption=caption)


class Watch:
    """Sums over the steps between two scores that tell a collapse and inverted colors; each is told once."""

    def __init__(self, context: TrainContext, remedy: str = "raise the cycle's weight") -> None:
        """``remedy``: what this method may change beside its learning rate, its steps and its seed."""
        self._context, self._remedy = context, remedy
        self.told: set[str] = set()
        """What has been told; part of a training's state, so that a restart tells it no second time."""
        self._steps = 0
        self._accuracy = torch.zeros((), device=context.device)
        self._shifts: dict[str, Tensor] = {}
        self._brightness: dict[str, Tensor] = {}

    def see(self, accuracy: Tensor, seen: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
        """``accuracy`` of the discriminators on this rank's patches; for each translation, by name, the images that it
        was made of, itself, and images of the domain that it shall look like.
        """
        self._steps += 1
        self._accuracy += accuracy
        for name, (origin, translated, real) in seen.items():
            shift = (translated.mean(dim=(0, 2, 3)) - real.mean(dim=(0, 2, 3))) * 127.5
            self._shifts[name] = self._shifts.get(name, torch.zeros_like(shift)) + shift
            moments = _brightness_moments(origin, translated)
            self._brightness[name] = self._brightness.get(name, torch.zeros_like(moments)) + moments

    def tell(self, step: int) -> None:
        """Warn, on rank 0 and of each thing once, but not in the first steps; every rank calls it."""
        if step >= SETTLED and self._steps:
            self._look()
        self._steps = 0
        self._accuracy.zero_()
        self._shifts, self._brightness = {}, {}

    def _look(self) -> None:
        count = self._steps * self._context.world_size
        accuracy = float(self._context.all_reduce(self._accuracy)) / count
        if accuracy >= COLLAPSED:
            self._warn(
                "collapse",
                f"the discriminators judge {100 * accuracy:.1f} % of the patches right over {self._steps} steps, so "
                f"the generators learn nothing from them: lower the learning rate, {self._remedy}, "
                "or start from another seed",
            )
        for name in sorted(self._shifts):
            shift = (self._context.all_reduce(self._shifts[name]) / count).tolist()
            worst = max(range(3), key=lambda channel: abs(shift[channel]))
            if abs(shift[worst]) > SHIFTED:
                self._warn(
                    f"shift {name}",
                    f"{name} are off by {shift[worst]:+.0f} grey levels in {('red', 'green', 'blue')[worst]} over "
                    f"{self._steps} steps; they have not taken the domain's colors: train longer, or see in the "
                    "pictures whether they collapsed",
                )
            correlation = _correlation(self._context.all_reduce(self._brightness[name]).tolist())
            if correlation < INVERTED:
                self._warn(
                    f"inversion {name}",
                    f"{name} are dark where the images are bright (correlation {correlation:.2f} over {self._steps} "
                    f"steps): colors are inverted; train longer, {self._remedy}, or start from another seed",
                )

    def _warn(self, what: str, text: str) -> None:
        if what not in self.told and self._context.rank == 0:
            warnings.warn(text, MethodWarning, stacklevel=3)
        self.told.add(what)


def _brightness_moments(first: Tensor, second: Tensor) -> Float[Tensor, " 3"]:
    """Sums of x², y² and xy over all pixels, x and y the brightness less its mean in the image."""
    x, y = (images.float().mean(dim=1).flatten(1) for images in (first, second))
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    return torch.stack([x.square().sum(), y.square().sum(), (x * y).sum()])


def _correlation(moments: Sequence[float]) -> float:
    squares = moments[0] * moments[1]
    return moments[2] / squares**0.5 if squares > 0 else 0.0
