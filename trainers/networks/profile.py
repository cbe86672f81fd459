"""What a network costs: parameters, operations, latency, memory.

Shape legend: h height, w width.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from trainers.components.configs import NetworkConfig
from trainers.components.networks import PUBLISHED_ENCODER
from trainers.networks.encoders import classifier_parameters
from trainers.networks.segmentation import build_segmenter, check_size
from trainers.networks.weights import check_encoder

MAX_ITERATIONS = 1000
WARM_UP_ITERATIONS = 10

ELEMENTS: dict[Callable[..., Any], int] = {
    functional.batch_norm: 2,
    functional.group_norm: 5,
    functional.layer_norm: 5,
    functional.adaptive_avg_pool2d: 1,
}
"""Function → what fvcore counts for each element that goes in."""

INTERPOLATIONS = {"nearest": 1, "bilinear": 4}
"""Mode of an interpolation → what fvcore counts for each element that comes out."""


@dataclass(frozen=True)
class Cost:
    """One image through a network; figures that were not measured are ``None``."""

    network: str
    parameters: int
    """Auxiliary heads included, which only training uses."""
    parameters_with_classifier: int | None
    """With the ImageNet classifier that a ResNet's file brings and segmentation does not use."""
    macs: int
    """Multiply-accumulates of convolutions and matrix products."""
    flops: int
    """Floating-point operations of the same: 2 · ``macs``."""
    fvcore_count: int
    """What fvcore calls FLOPs, as papers often report: ``macs``, plus 2 (batch norm), 5 (other norms), 4 (bilinear) or
    1 (nearest) per element, and 1 per element that is pooled to a fixed grid."""
    latency_ms: float | None = None
    """Mean over ``iterations``, after a warm-up, the device synchronized."""
    latency_sd_ms: float | None = None
    fps: float | None = None
    """Images per second: 1000 / ``latency_ms``."""
    iterations: int | None = None
    peak_memory_bytes: int | None = None
    """Of the timed iterations: allocated on a GPU; on a CPU the process's resident memory, where Linux tells."""


def parse_network(text: str) -> NetworkConfig:
    """``NETWORK`` or ``NETWORK:ENCODER``; without an encoder the one behind the network's published numbers."""
    name, _, encoder = text.partition(":")
    return NetworkConfig(architecture=name, encoder=encoder or PUBLISHED_ENCODER.get(name, "resnet18"))


def count(config: NetworkConfig, *, height: int, width: int) -> Cost:
    """Parameters and operations, from shapes alone: nothing is computed.

    Raises:
        UserError: an unknown encoder, or a size that the network cannot take.
    """
    check_encoder(config)
    check_size(config, height=height, width=width)
    segmenter = build_segmenter(config, pretrained=False).to("meta").eval()
    images = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), ElementCounter() as elements, FlopCounterMode(display=False) as products:
        segmenter(images)
    parameters = sum(parameter.numel() for parameter in segmenter.parameters())
    classifier = classifier_parameters(segmenter.network.encoder)  # type: ignore[arg-type]
    flops = products.get_total_flops()
    return Cost(
        network=f"{config.architecture}:{config.encoder}",
        parameters=parameters,
        parameters_with_classifier=None if classifier is None else parameters + classifier,
        macs=flops // 2,
        flops=flops,
        fvcore_count=flops // 2 + elements.count,
    )


class ElementCounter(TorchFunctionMode):
    """Counts what fvcore counts beside products.

    Source: facebookresearch/fvcore, ``flop_count.py`` and ``jit_handles.py``; in evaluation mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and add what it costs."""
        result = func(*args, **(kwargs or {}))
        if func is functional.interpolate:
            self.count += INTERPOLATIONS.get((kwargs or {}).get("mode", "nearest"), 0) * result.numel()
        elif func in ELEMENTS:
            self.count += ELEMENTS[func] * args[0].numel()
        return result


def measure(config: NetworkConfig, *, height: int, width: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Latency and memory of one random image in evaluation mode, as the fields of ``Cost``.

    Warm-up: ten iterations, or a tenth of ``seconds`` where they take longer, at least one. Then until ``seconds``
    or 1000 iterations.
    """
    segmenter = build_segmenter(config, pretrained=False).to(device).eval()
    images = torch.randint(256, (1, 3, height, width), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        _time(segmenter, images, seconds=seconds / 10, iterations=WARM_UP_ITERATIONS)
        is_reset = _reset_peak(device)
        times = torch.tensor(_time(segmenter, images, seconds=seconds, iterations=MAX_ITERATIONS))
    mean = times.mean().item()
    return {
        "latency_ms": 1000 * mean,
        "latency_sd_ms": 1000 * times.std().item() if len(times) > 1 else None,
        "fps": 1 / mean,
        "iterations": len(times),
        "peak_memory_bytes": _peak(device) if is_reset else None,
    }


def _time(segmenter: nn.Module, images: Tensor, *, seconds: float, iterations: int) -> list[float]:
    """Seconds of each iteration: at most ``iterations``, and no more are begun once ``seconds`` have passed."""
    times: list[float] = []
    while len(times) < iterations and (not times or sum(times) < seconds):
        _synchronize(images.device)
        start = time.perf_counter()
        segmenter(images)
        _synchronize(images.device)
        times.append(time.perf_counter() - start)
    return times


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> bool:
    """Forget the largest memory so far; whether that was possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM starts again from what is resident now.
    except OSError:
        return False
    return True


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else None
