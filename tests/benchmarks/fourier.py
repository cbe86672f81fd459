"""FDA against its published NumPy form, and what it costs per image: both in one run, alternating.

Batch 4 at 512×1024 in float32 as a data loader gives it; the smallest of several measurements. On a busy machine take
``--cpu-seconds`` and one thread. Targets: ≥ 12 × at every beta, ≥ 25 × at .01, equal to 5e-3 grey levels.
On a GPU also the share of a copy's bandwidth. Usage: ``python -m tests.benchmarks.fourier [--repeats 5] [--ways]``
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from orchestrator.provenance import hardware
from tests.references.fourier import transfer
from trainers.components import fourier

BETAS = (0.01, 0.03, 0.05, 0.07, 0.09)
SHAPE = (4, 3, 512, 1024)


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", action="store_true", help="time both ways of our own at every beta")
    parser.add_argument("--cpu-seconds", action="store_true", help="of the process, over all threads")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, SHAPE).astype(np.float32) for _ in range(2)]
    source, target = (torch.from_numpy(array) for array in arrays)
    ratios = {}
    print(f"batch {SHAPE[0]} at {SHAPE[2]}×{SHAPE[3]}, float32, {torch.get_num_threads()} thread(s), {hardware('cpu')}")
    for beta in BETAS:
        exact = transfer(*arrays, beta).real
        error = float(np.abs(fourier.transfer_style(source, target, beta).double().numpy() - exact).max())
        seconds = alternate(
            {
                "published": lambda beta=beta: published(arrays[0], arrays[1], beta),
                "ours": lambda beta=beta: fourier.transfer_style(source, target, beta),
                **(ways(source, target, beta) if options.ways else {}),
            },
            options.repeats,
            clock,
        )
        ratios[beta] = seconds["published"] / seconds["ours"]
        told = "  ".join(f"{name} {1000 * value:8.1f} ms" for name, value in seconds.items())
        print(f"beta {beta:.2f}: {told}  {ratios[beta]:6.1f} ×  largest difference {error:.1e} grey levels")
    found = {"hardware": hardware("cpu"), "ratios": ratios}
    if torch.cuda.is_available():
        found["gpu"] = on_gpu(source, target)
    print(json.dumps(found))


def published(source: np.ndarray, target: np.ndarray, beta: float) -> list[np.ndarray]:
    """Image by image, as the released function is called."""
    pairs = zip(source, target, strict=True)
    return [np.real(transfer(one, other, beta, dtype=np.float32)) for one, other in pairs]


def ways(source: Tensor, target: Tensor, beta: float) -> dict[str, Callable[[], object]]:
    """All of our own ways, whichever ``transfer_style`` takes."""
    radius = fourier.window_radius(beta, height=SHAPE[2], width=SHAPE[3])

    def window(limit: int) -> None:
        chosen, fourier.PRODUCT_MAX_RADIUS = fourier.PRODUCT_MAX_RADIUS, limit
        fourier._by_window(source, target, radius)
        fourier.PRODUCT_MAX_RADIUS = chosen

    return {
        "products": lambda: window(radius),
        "row transforms": lambda: window(0),
        "full transforms": lambda: fourier._by_full_transforms(source, target, radius),
    }


def alternate(tasks: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """The smallest seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            started = clock()
            task()
            found[name].append(clock() - started)
    return {name: min(seconds) for name, seconds in found.items()}


def on_gpu(source: Tensor, target: Tensor) -> dict[str, float]:
    """Images per second, and seconds of a copy of the batch as a share of the transfer's."""
    source, target = source.cuda(), target.cuda()

    def seconds(task: Callable[[], object]) -> float:
        for _ in range(5):
            task()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(50):
            task()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / 50

    copy = seconds(source.clone)
    found = {}
    for beta in BETAS:
        took = seconds(lambda beta=beta: fourier.transfer_style(source, target, beta))
        print(f"GPU, beta {beta:.2f}: {SHAPE[0] / took:9.0f} images/s, a copy takes {copy / took:.2f} of it")
        found[f"{beta}"] = SHAPE[0] / took
    return found


if __name__ == "__main__":
    main()
