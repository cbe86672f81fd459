"""What the tests of networks share."""

import pytest
import torch

from trainers.components.configs import NetworkConfig
from trainers.errors import UserError
from trainers.networks.segmentation import Segmenter, build_segmenter


def build(seed: int = 0, *, pretrained: bool = False, **fields: object) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter(NetworkConfig(**fields), pretrained=pretrained)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
