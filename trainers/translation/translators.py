"""What a translator's training leaves behind, and how images, or label maps, go through it whole.

Shape legend: h height, w width, k planes of what it reads: red, green and blue, or label ids and instance ids.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32, UInt8
from pydantic import BaseModel
from torch import Tensor

from trainers.checkpoint import load_state
from trainers.config import Config
from trainers.data.datasets import DataSplit
from trainers.data.image_files import decode, to_rgb
from trainers.data.label_maps import boundaries, read_label_map
from trainers.data.nearest import resize_ids
from trainers.data.samples import Sample
from trainers.described import read_described
from trainers.errors import MethodWarning, UserError, nearest
from trainers.translation.pix2pixhd_config import LabelGeneratorConfig
from trainers.translation.training import as_bytes, signed

DESCRIPTION = "translator.json"
PARTS = frozenset({"train", "val", "test", "adapt", "held", "out", "pairs", "all"})
"""Words in the name of a split that say nothing about its domain."""


FROM_LABEL_MAPS = frozenset({"pix2pixhd"})
"""Methods whose translators read label maps instead of images."""

Translate = Callable[[Float[Tensor, "1 k h w"]], Float[Tensor, "1 3 h w"]]
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Translator:
    """A trained translator in one direction."""

    translate: Translate
    """Images in [-1, 1], or planes of ids, sides a multiple of ``stride`` and at least ``least``."""
    stride: int
    least: int
    origin: DataSplit
    """The split that it learned to translate from."""
    goal: DataSplit
    """The split whose looks it learned."""
    step: int
    device: torch.device
    label_maps: LabelGeneratorConfig | None = None
    """What it reads label maps as; ``None``: it reads images."""

    def read(self, sample: Sample) -> UInt8[Tensor, "3 h w"] | Int32[Tensor, "k h w"]:
        """What it translates of a sample: its image, or its label map alone.

        Raises:
            UserError: a file cannot be decoded, or holds label ids that the translator does not know.
        """
        if self.label_maps is not None:
            return read_label_map(sample, label_nc=self.label_maps.label_nc, edges=self.label_maps.edges)
        pixels = np.array(to_rgb(decode(sample.image), sample.image))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    @torch.inference_mode()
    def __call__(
        self, given: UInt8[Tensor, "3 h w"] | Int32[Tensor, "k h w"], *, size: tuple[int, int] | None = None
    ) -> UInt8[Tensor, "3 h w"]:
        """The translation of what ``read`` gave, whole and in its own size.

        With ``size`` (height, width) it is resized to that before and back after, antialiased bilinear both times; ids
        take the nearest. A size that the network cannot take is padded with the mirrored border, and cropped back.
        """
        own = given.shape[1], given.shape[2]
        shown = given[None].to(self.device)
        if self.label_maps is not None:
            shown = resize_ids(shown, size or own).float()
        else:
            shown = signed(shown)
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


class _Description(BaseModel):
    """What stands in the file."""

    method: str
    source: str
    target: str
    generator: dict[str, Any]


def read_translator(folder: Path) -> dict[str, Any]:
    """What ``write_translator`` wrote.

    Raises:
        UserError: the folder holds no translator.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{folder} holds no trained translator: {DESCRIPTION} is missing")
    described: _Description = read_described(path, _Description)
    return described.model_dump()


def load_translator(folder: Path, checkpoint: str, *, direction: str, device: torch.device) -> Translator:
    """The translator in ``folder`` with the weights of ``checkpoint`` (``best`` or ``final``).

    ``direction``: ``forward``, from the source of its training to the target, or ``backward``.

    Raises:
        UserError: there is none, it is of a method that does not translate, or only forward, or the weights do not fit.
    """
    described = read_translator(folder)
    if described["method"] not in BUILDERS:
        raise UserError(f"{folder} is of the method {described['method']!r}: {nearest(described['method'], BUILDERS)}")
    state = load_state(folder / f"{checkpoint}.pt")
    labels = described["method"] in FROM_LABEL_MAPS
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
    label_maps = LabelGeneratorConfig.model_validate(described["generator"]) if labels else None
    return Translator(translate, stride, least, origin, goal, state["step"], device, label_maps)


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


def _pix2pixhd(fields: Mapping[str, Any], weights: State, direction: str, device: torch.device) -> Built:
    from trainers.translation.pix2pixhd_networks import Pix2PixHD, encode

    check_forward(direction)
    config = LabelGeneratorConfig.model_validate(fields)
    network = Pix2PixHD(config)
    network.load_state_dict(weights)
    network.to(device).eval()

    def generate(ids: Tensor) -> Tensor:
        image: Tensor = network(encode(torch.cat([ids[:, :1], boundaries(ids[:, 1:]).float()], dim=1), config.label_nc))
        return image

    return generate, config.stride(), 2 * config.stride()


def check_forward(direction: str) -> None:
    """Refuse to make label maps of images.

    Raises:
        UserError: with the fix.
    """
    if direction != "forward":
        raise UserError("this translator makes images of label maps and knows no way back; set direction to forward")


def domain_of(split: DataSplit) -> str:
    """The domain that a split's name tells: ``toy_city/night`` of ``toy_city/night_test``."""
    words = [word for word in split.split.split("_") if word not in PARTS]
    return "/".join((split.dataset, "_".join(words)))


def check_direction(split: DataSplit, *, origin: DataSplit, goal: DataSplit) -> None:
    """Refuse images of the domain that a translator leads to, and warn of a third one of its data set; another data set
    may be like either, so it is allowed.

    Raises:
        UserError: with the fix.
    """
    given, there, here = domain_of(split), domain_of(goal), domain_of(origin)
    if given == there != here:
        raise UserError(
            f"{split} is of {there}, which this translator leads to from {here}; set direction the other way round"
        )
    # Densities of fog are one domain.
    if split.dataset == origin.dataset and given.partition("beta")[0] != here.partition("beta")[0]:
        warnings.warn(
            f"{split} is of {given}, and this translator was trained from {here} to {there}: it has seen no such image",
            MethodWarning,
            stacklevel=2,
        )


Build = Callable[[Mapping[str, Any], State, str, torch.device], Built]

BUILDERS: dict[str, Build] = {"unit": _unit, "dfs": _dfs, "pix2pixhd": _pix2pixhd}
"""Method → from the generator's fields, weights, direction and device to a translator."""
