"""What a translator's training leaves behind, and how images go through it whole.

Shape legend: h height, w width.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from trainers.checkpoint import load_state
from trainers.config import Config
from trainers.data.datasets import DataSplit
from trainers.errors import UserError, nearest
from trainers.translation.training import as_bytes, signed

DESCRIPTION = "translator.json"
PARTS = frozenset({"train", "val", "test", "held", "out", "pairs", "all"})
"""Words in the name of a split that say nothing about its domain."""


Translate = Callable[[Float[Tensor, "1 3 h w"]], Float[Tensor, "1 3 h w"]]
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Translator:
    """A trained translator in one direction."""

    translate: Translate
    """Images in [-1, 1], sides a multiple of ``stride`` and at least ``least``."""
    stride: int
    least: int
    origin: DataSplit
    """The split that it learned to translate from."""
    goal: DataSplit
    """The split whose looks it learned."""
    step: int
    device: torch.device

    @torch.inference_mode()
    def __call__(self, image: UInt8[Tensor, "3 h w"], *, size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 h w"]:
        """The translation of one image, whole and in its own size.

        With ``size`` (height, width) it is resized to that before and back after, antialiased bilinear both times. A
        size that the network cannot take is padded with the mirrored border, and cropped back.
        """
        own = image.shape[1], image.shape[2]
        shown = signed(image[None].to(self.device))
        if size is not None and size != own:
            shown = F.interpolate(shown, size=size, mode="bilinear", antialias=True)
        translated = crop(self.translate(pad_to(shown, self.stride, self.least)).float(), shown.shape[2:])
        if translated.shape[2:] != own:
            translated = F.interpolate(translated, size=own, mode="bilinear", antialias=True)
        return as_bytes(translated)[0].cpu()


def pad_to(images: Tensor, stride: int, least: int) -> Tensor:
    """Sides grown to multiples of ``stride``, at least ``least``, below and to the right; mirrored, or repeated where
    too narrow.
    """
    height, width = images.shape[2:]
    below, right = (max(least, side + -side % stride) - side for side in (height, width))
    if not below and not right:
        return images
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode)


def crop(images: Tensor, size: "torch.Size | tuple[int, int]") -> Tensor:
    """The upper left part of ``size``."""
    return images[:, :, : size[0], : size[1]]


def write_translator(folder: Path, method: str, *, generator: Config, source: DataSplit, target: DataSplit) -> None:
    """Write ``translator.json``; with ``best.pt`` and ``final.pt`` it makes a translator that anyone can load."""
    described = {"method": method, "source": str(source), "target": str(target), "generator": generator.model_dump()}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=1))


def read_translator(folder: Path) -> dict[str, Any]:
    """What ``write_translator`` wrote.

    Raises:
        UserError: the folder holds no translator.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{folder} holds no trained translator: {DESCRIPTION} is missing")
    described: dict[str, Any] = json.loads(path.read_text())
    return described


def load_translator(folder: Path, checkpoint: str, *, direction: str, device: torch.device) -> Translator:
    """The translator in ``folder`` with the weights of ``checkpoint`` (``best`` or ``final``).

    ``direction``: ``forward``, from the source of its training to the target, or ``backward``.

    Raises:
        UserError: there is none, it is of a method that does not translate images, or the weights do not fit it.
    """
    described = read_translator(folder)
    if described["method"] not in BUILDERS:
        raise UserError(f"{folder} is of the method {described['method']!r}: {nearest(described['method'], BUILDERS)}")
    state = load_state(folder / f"{checkpoint}.pt")
    try:
        translate, stride, least = BUILDERS[described["method"]](
            described["generator"], state["weights"], direction, device
        )
    except RuntimeError as error:
        raise UserError(
            f"{folder / checkpoint}.pt does not fit its {DESCRIPTION}: {str(error).splitlines()[0]}"
        ) from error
    ends = [DataSplit.model_validate(described[end]) for end in ("source", "target")]
    origin, goal = ends if direction == "forward" else reversed(ends)
    return Translator(translate, stride, least, origin, goal, state["step"], device)


Built = tuple[Translate, int, int]
"""What translates, the stride, and the smallest side."""


def _unit(fields: Mapping[str, Any], weights: State, direction: str, device: torch.device) -> Built:
    from trainers.translation.configs import GeneratorConfig
    from trainers.translation.unit_networks import UNIT

    config = GeneratorConfig.model_validate(fields)
    network = UNIT(config)
    network.load_state_dict(weights)
    network.to(device).eval()
    to = "target" if direction == "forward" else "source"
    # A latent map of one cell would have no deviation to normalize with.
    return lambda images: network.translate(images, to=to), config.stride(), max(2 * config.stride(), 8)


def _dfs(fields: Mapping[str, Any], weights: State, direction: str, device: torch.device) -> Built:
    from trainers.translation.dfs_config import UNetConfig
    from trainers.translation.dfs_networks import UNet

    if direction != "forward":
        raise UserError("dfs takes haze out of images and puts none in; set direction=forward")
    config = UNetConfig.model_validate(fields)
    network = UNet(config)
    network.load_state_dict(weights)
    return network.to(device).eval(), config.stride(), config.stride()


def domain_of(split: DataSplit) -> str:
    """The domain that a split's name tells: ``toy_city/night`` of ``toy_city/night_test``."""
    words = [word for word in split.split.split("_") if word not in PARTS]
    return "/".join((split.dataset, "_".join(words)))


def check_direction(split: DataSplit, *, origin: DataSplit, goal: DataSplit) -> None:
    """Refuse images of the domain that a translator leads to; another data set may be like either, so it is allowed.

    Raises:
        UserError: with the fix.
    """
    there, here = domain_of(goal), domain_of(origin)
    if domain_of(split) == there != here:
        raise UserError(
            f"{split} is of {there}, which this translator leads to from {here}; set direction the other way round"
        )


Build = Callable[[Mapping[str, Any], State, str, torch.device], Built]

BUILDERS: dict[str, Build] = {"unit": _unit, "dfs": _dfs}
"""Method → from the generator's fields, weights, direction and device to a translator."""
