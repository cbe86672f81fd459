"""Weights from a file: whose tensors it holds, under which prefix, and what of it the network has no place for."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainers.checkpoint import load_state
from trainers.components.configs import NetworkConfig
from trainers.errors import MethodWarning, UserError
from trainers.unreadable import SAVE_ADVICE

WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "network.")
"""What DistributedDataParallel, ``torch.compile``, Lightning, mmsegmentation and classes of one's own put in front."""

CLASSIFIERS = ("fc.", "_fc.", "linear.", "head.", "classifier.", "last_linear.", "layer5.")
"""What files of whole classifiers (and of DeepLab, ``layer5``) hold beside the encoder; it is left out."""

SHOWN_TENSORS = 4


class Part(NamedTuple):
    """A module that a file may hold the weights of."""

    module: nn.Module
    name: str
    is_encoder: bool


class Match(NamedTuple):
    """The tensors of a file by their names in a part, and the names of those that stand outside of its prefix."""

    part: Part
    state: Mapping[str, Tensor]
    outside: Sequence[str]


def load_file(segmenter: nn.Module, config: NetworkConfig, path: Path) -> None:
    """Load a state dict of the segmenter, of its network or of its encoder; the names of its tensors tell which.

    What an encoder has no place for, such as its classifier, is left out, with a ``MethodWarning`` that names it.

    Raises:
        UserError: the file holds something else, or not every tensor of what it holds; names tensors.
    """
    state = read_state_dict(path)
    network: nn.Module = segmenter.network  # type: ignore[assignment]
    encoder: nn.Module = network.encoder  # type: ignore[assignment]
    name = f"{config.architecture}-{config.encoder}"
    parts = [Part(network, f"the network of {name}", False), Part(segmenter, name, False)]
    inner = encoder
    while isinstance(inner, nn.Module):  # The library wraps timm's network, and timm wraps it again to take features.
        parts.insert(0, Part(inner, f"the encoder {config.encoder}", True))
        inner = getattr(inner, "model", None)  # type: ignore[assignment]
    match = best_match(state, parts)
    if match is None:
        raise UserError(
            f"{path} holds neither the encoder {config.encoder} nor the whole {config.architecture}: it has "
            f"{some(list(state))}, and the encoder has {some(list(encoder.state_dict()))}"
        )
    if match.part.module is segmenter and ("bgr" in match.state) != ("bgr" in segmenter.state_dict()):
        family = "caffe" if "bgr" in match.state else "imagenet"
        raise UserError(f"{path} was trained on images of the family {family}: set network.normalization to {family}")
    left_out = match.outside
    if match.part.is_encoder:
        left_out = [*match.outside, *without_place(match, config)]
        match = match._replace(outside=(), state={k: v for k, v in match.state.items() if k not in left_out})
    load(match.part.module, match.state, str(path), match.part.name, outside=match.outside)
    if left_out and match.part.is_encoder:
        warnings.warn(
            f"{path}: {match.part.name} has no place for {len(left_out)} tensors, which are left out: {some(left_out)}",
            MethodWarning,
            stacklevel=2,
        )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, from wherever usual training programs put them."""
    state: Any = load_state(path, SAVE_ADVICE)
    for key in ("weights", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict (name → tensor); save one with torch.save(model.state_dict(), …)")
    return {name.replace("._orig_mod.", "."): value for name, value in state.items()}


def best_match(state: Mapping[str, Tensor], parts: Sequence[Part]) -> Match | None:
    """The part and the prefix by which most names fit; of those that fit alike the first part, the shortest prefix."""
    prefixes = sorted({prefix for name in state for prefix in wrappings(name)}, key=len)
    best, most = None, 0
    for part in parts:
        expected = part.module.state_dict().keys()
        for prefix in prefixes:
            inside = {
                renamed(name.removeprefix(prefix), expected): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
            overlap = len(inside.keys() & expected)
            if overlap > most:
                outside = [name for name in state if not name.startswith(prefix)]
                best, most = Match(part, inside, outside), overlap
    return best


def wrappings(name: str) -> list[str]:
    """The prefixes of ``name`` that consist of ``WRAPPERS`` alone, the empty one first."""
    prefixes = [""]
    for word in accumulate(name.split(".")[:-1], lambda before, after: f"{before}.{after}"):
        if f"{word.rpartition('.')[2]}." not in WRAPPERS:
            break
        prefixes.append(f"{word}.")
    return prefixes


def renamed(name: str, expected: Any) -> str:
    """``name`` as ``expected`` has it: timm's feature extractors make of ``stages.0`` a module ``stages_0``."""
    flat = name.replace(".", "_", 1)
    return flat if flat in expected and name not in expected else name


def without_place(match: Match, config: NetworkConfig) -> list[str]:
    """The tensors of a whole classifier that its feature extractor does not have.

    Of timm's models they are what the model itself has and its extractor has not; what neither has stays, to be
    refused: the file is another model's.
    """
    expected = match.part.module.state_dict()
    extra = [name for name in match.state if name not in expected]
    whole: set[str] = set()
    if extra and config.encoder.startswith("tu-"):
        import timm

        with torch.device("meta"):
            model = timm.create_model(config.encoder[3:])
        whole = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    return [name for name in extra if name in whole or name.startswith(CLASSIFIERS)]


def load(
    module: nn.Module, state: Mapping[str, Tensor], source: str, target: str, *, outside: Sequence[str] = ()
) -> None:
    """Load ``state``, whose tensors must be exactly the module's.

    Tensors that nothing learns or reads (a transformer's classifier below a decoder) may be missing or differ.

    Raises:
        UserError: names the tensors that are missing, too many (``outside`` too), or of another shape.
    """
    expected = module.state_dict()
    idle = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    idle |= {name for name in expected if name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name not in state and name not in idle]
    extra = [*outside, *(name for name in state if name not in expected)]
    shapes = {name: (tuple(state[name].shape), tuple(value.shape)) for name, value in expected.items() if name in state}
    differ = [f"{name} {a} instead of {b}" for name, (a, b) in shapes.items() if a != b and name not in idle]
    kinds = {"missing": missing, "too many": extra, "of another shape": differ}
    problems = [f"{len(names)} {kind}: {some(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise UserError(f"{source} does not fit {target}; tensors {'; '.join(problems)}")
    fitting = {name for name, (a, b) in shapes.items() if a == b}
    # nn.Module's, since encoders override it to drop classifiers from the caller's dictionary.
    nn.Module.load_state_dict(module, {n: state[n] if n in fitting else value for n, value in expected.items()})


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN_TENSORS} more" if len(names) > SHOWN_TENSORS else ""
    return ", ".join(names[:SHOWN_TENSORS]) + more
