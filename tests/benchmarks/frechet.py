"""Fréchet distance at 2048 dimensions: ours against ``scipy.linalg.sqrtm``, as pytorch-fid has it.

``python -m tests.benchmarks.frechet`` prints seconds, the ratio and the relative difference. One thread each.
"""

import time

import numpy as np
import torch
from scipy import linalg

from trainers.components.frechet import Statistics, frechet_distance

DIMENSIONS, IMAGES = 2048, 4000


def statistics(seed: int) -> Statistics:
    """A covariance of full rank whose spectrum falls as that of Inception's features does."""
    rng = np.random.default_rng(seed)
    falling = np.exp(-6 * np.arange(DIMENSIONS) / DIMENSIONS)
    mixing = rng.standard_normal((DIMENSIONS, DIMENSIONS)) / DIMENSIONS**0.5
    vectors = rng.standard_normal((IMAGES, DIMENSIONS)) * falling @ mixing
    covariance = torch.from_numpy(np.cov(vectors, rowvar=False))
    return Statistics(torch.from_numpy(vectors.mean(axis=0)), covariance, IMAGES)


def by_sqrtm(first: Statistics, second: Statistics) -> float:
    """The published form."""
    one, other = first.covariance.numpy(), second.covariance.numpy()
    root = linalg.sqrtm(one @ other).real
    mean = float((first.mean - second.mean).square().sum())
    return mean + float(np.trace(one) + np.trace(other) - 2 * np.trace(root))


def main() -> None:
    """Run both, each once: CPU seconds, whatever else the machine does."""
    torch.set_num_threads(1)
    pair = statistics(1), statistics(2)
    seconds: dict[str, float] = {}
    values: dict[str, float] = {}
    for name, measure in (("ours", lambda: frechet_distance(*pair).total), ("sqrtm", lambda: by_sqrtm(*pair))):
        started = time.process_time()
        values[name] = measure()
        seconds[name] = time.process_time() - started
    print(f"ours {seconds['ours']:.2f} s, sqrtm {seconds['sqrtm']:.2f} s: {seconds['sqrtm'] / seconds['ours']:.1f} ×")
    print(f"relative difference {abs(values['ours'] / values['sqrtm'] - 1):.1e}")


if __name__ == "__main__":
    main()
