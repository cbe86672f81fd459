"""What a training stage leaves behind: the weights, and how to build the network that they belong to."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainers.checkpoint import load_state
from trainers.components.configs import NetworkConfig
from trainers.errors import UserError
from trainers.networks.segmentation import Segmenter, build_segmenter


@dataclass(frozen=True)
class Trained:
    """The description beside the weights."""

    network: NetworkConfig
    height: int
    width: int


def write_description(folder: Path, trained: Trained) -> None:
    """Write ``segmenter.json``; with ``best.pt`` and ``final.pt`` it makes a segmenter that anyone can load."""
    described = {"network": trained.network.model_dump(), "height": trained.height, "width": trained.width}
    (folder / "segmenter.json").write_text(json.dumps(described, indent=1))


def read_description(folder: Path) -> Trained:
    """What ``write_description`` wrote."""
    description = folder / "segmenter.json"
    if not description.is_file():
        raise UserError(f"{folder} holds no trained segmenter: {description.name} is missing")
    described = json.loads(description.read_text())
    return Trained(NetworkConfig(**described["network"]), described["height"], described["width"])


def load_segmenter(folder: Path, checkpoint: str) -> tuple[Segmenter, Trained, int]:
    """The network with the weights of ``checkpoint`` (``best`` or ``final``), its description, and their step."""
    trained = read_description(folder)
    segmenter = build_segmenter(trained.network, pretrained=False)
    path = folder / f"{checkpoint}.pt"
    state = load_state(path)
    try:
        segmenter.load_state_dict(state["weights"])
    except (KeyError, RuntimeError) as error:
        network = trained.network
        raise UserError(f"{path} is not of {network.architecture}-{network.encoder}: {error}") from error
    return segmenter, trained, int(state["step"])
