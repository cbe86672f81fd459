"""What a training stage leaves behind: the weights, and how to build the network that they belong to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel
from torch import Tensor, nn

from trainers.checkpoint import load_state
from trainers.components.configs import NetworkConfig, RelightingConfig
from trainers.data.datasets import DataSplit
from trainers.described import read_described
from trainers.errors import UserError
from trainers.networks.relighting import with_relighting
from trainers.networks.segmentation import Segmenter, build_segmenter

DESCRIPTION = "segmenter.json"


@dataclass(frozen=True)
class Trained:
    """The description beside the weights."""

    network: NetworkConfig
    height: int
    width: int
    relighting: RelightingConfig | None = None
    """The network in front of it, if it was trained with one."""
    class_frequencies: tuple[float, ...] | None = None
    """Share of each class in the training's labels, where the training weighed classes by them."""
    class_set: str | None = None
    """Name of the classes that its labels can hold; unknown of trainings that did not write it down."""


class _Description(BaseModel):
    """What stands in the file."""

    network: NetworkConfig
    height: int
    width: int
    relighting: RelightingConfig | None = None
    class_frequencies: tuple[float, ...] | None = None
    class_set: str | None = None
    trained_on: list[DataSplit] | None = None


def write_description(
    folder: Path, trained: Trained, *, seen: Sequence[DataSplit] | None = None, initial: Path | None = None
) -> None:
    """Write ``segmenter.json``; with ``best.pt`` and ``final.pt`` it makes a segmenter that anyone can load.

    ``seen`` are the splits whose images it was trained on, beside those that the stage in ``initial`` had seen.
    """
    described: dict[str, Any] = {
        "network": trained.network.model_dump(),
        "height": trained.height,
        "width": trained.width,
    }
    if trained.relighting is not None:
        described["relighting"] = trained.relighting.model_dump()
    if trained.class_frequencies is not None:
        described["class_frequencies"] = trained.class_frequencies
    if trained.class_set is not None:
        described["class_set"] = trained.class_set
    before = [] if initial is None else trained_on(initial)
    if seen is not None and before is not None:
        described["trained_on"] = sorted({str(split) for split in (*seen, *before)})
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=1))


def read_description(folder: Path) -> Trained:
    """What ``write_description`` wrote."""
    description = folder / DESCRIPTION
    if not description.is_file():
        raise UserError(f"{folder} holds no trained segmenter: {description.name} is missing")
    described: _Description = read_described(description, _Description)
    return Trained(
        described.network,
        described.height,
        described.width,
        described.relighting,
        described.class_frequencies,
        described.class_set,
    )


def trained_on(folder: Path) -> list[DataSplit] | None:
    """The splits whose images the segmenter in ``folder`` has seen; ``None`` where its training did not note them."""
    described: _Description = read_described(folder / DESCRIPTION, _Description)
    return described.trained_on


def load_initial(segmenter: Segmenter, network: NetworkConfig, folder: Path) -> None:
    """Put the last weights of the trained stage in ``folder`` into ``segmenter``, a network of ``network``.

    Raises:
        UserError: they are of another network.
    """
    check_initial(network, folder)
    segmenter.load_state_dict(load_state(folder / "final.pt")["weights"])


def check_initial(network: NetworkConfig, folder: Path) -> None:
    """Refuse a stage to start from that trained another network; what its weights began as, and dropout, do not matter.

    Raises:
        UserError: with both networks.
    """
    started = read_description(folder)
    check_same_network(network, started.network, started.relighting)


def check_same_network(
    network: NetworkConfig, started: NetworkConfig, relighting: RelightingConfig | None = None
) -> None:
    """The same refusal, of configurations: ``started`` is that of the stage to start from, behind ``relighting``."""
    if relighting is not None and relighting.kind != "none":
        raise UserError(
            f"the stage to start from trained its network behind a relighting ({relighting.kind}), without which it "
            "sees other images; start from the stage that it started from"
        )
    theirs, ours = ({**one.model_dump(), "weights": None, "dropout": None} for one in (started, network))
    if different := [name for name in ours if ours[name] != theirs[name]]:
        told = ", ".join(f"{name} {theirs[name]!r} there and {ours[name]!r} here" for name in different)
        raise UserError(f"the stage to start from trained another network ({told}); give both the same network")


def load_segmenter(folder: Path, checkpoint: str) -> tuple[Segmenter, Trained, int]:
    """The network with the weights of ``checkpoint`` (``best`` or ``final``), its description, and their step."""
    trained = read_description(folder)
    segmenter = with_relighting(build_segmenter(trained.network, pretrained=False), trained.relighting)
    path = folder / f"{checkpoint}.pt"
    state = load_state(path)
    try:
        segmenter.load_state_dict(state["weights"])
    except (KeyError, RuntimeError) as error:
        network = trained.network
        raise UserError(f"{path} is not of {network.architecture}-{network.encoder}: {error}") from error
    return segmenter, trained, int(state["step"])


class Ensemble(nn.Module):
    """Networks whose softmax maps are averaged; its "logits" are the logarithm of that mean."""

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """The logarithm of the mean probability: its softmax is that mean."""
        log_probability = torch.stack([member(images).float().log_softmax(dim=1) for member in self.members])
        return log_probability.logsumexp(dim=0) - math.log(len(self.members))


def load_predictor(inputs: Mapping[str, Path], checkpoint: str) -> tuple[nn.Module, Trained, int]:
    """The network of the role ``segmenter``; with more roles ``segmenter_…``, the ensemble of all of them."""
    roles = sorted(role for role in inputs if role == "segmenter" or role.startswith("segmenter_"))
    loaded = [load_segmenter(inputs[role], checkpoint) for role in roles]
    segmenter, trained, step = loaded[0]
    if len(loaded) == 1:
        return segmenter, trained, step
    for role, (_, other, _) in zip(roles, loaded, strict=True):
        if other.class_set != trained.class_set:
            raise UserError(
                f"{roles[0]} learned the classes {trained.class_set}, and {role} learned {other.class_set}; their "
                "probabilities cannot be averaged: give segmenters of one class set"
            )
    return Ensemble([one for one, _, _ in loaded]), trained, max(step for _, _, step in loaded)
