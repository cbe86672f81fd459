"""Scoring a pool at the thesis's size: 15 000 features of 2048 dimensions against a reference of 2975.

``python -m tests.benchmarks.selection`` prints CPU seconds of each scorer and of measuring the choice. One thread.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from trainers.components.frechet import fit, frechet_distance
from trainers.selection.choosing import accept, take
from trainers.selection.scorers import frechet_dirac, knn_precision, mahalanobis

DIMENSIONS, POOL, REFERENCE, CHOSEN = 2048, 15_000, 2975, 1600


def main() -> None:
    """Run each once: CPU seconds, whatever else the machine does."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    falling = torch.exp(-6 * torch.arange(DIMENSIONS) / DIMENSIONS)
    pool, reference = (torch.randn(count, DIMENSIONS, generator=generator) * falling for count in (POOL, REFERENCE))
    statistics = fit(reference)
    scorers: dict[str, Callable[[], torch.Tensor]] = {
        "frechet_dirac": lambda: frechet_dirac(pool, statistics),
        "mahalanobis": lambda: mahalanobis(pool, statistics, shrinkage=0.1),
        "knn_precision": lambda: knn_precision(pool, reference, neighbors=3),
    }
    for name, score in scorers.items():
        started = time.process_time()
        scores = score().numpy()
        print(f"{name}: {time.process_time() - started:.2f} s")
    wanted = knn_precision(reference, reference, neighbors=3, are_the_reference=True).numpy()
    accepted = accept(scores, lower=None, threshold=None, quantile=0.5, what="the pool")
    for order in ("random", "score", "quantile_match"):
        started = time.process_time()
        chosen = take(scores, accepted, CHOSEN, order=order, seed=0, wanted=wanted)  # type: ignore[arg-type]
        print(f"{CHOSEN} by {order}: {time.process_time() - started:.2f} s")
    started = time.process_time()
    frechet_distance(fit(pool[torch.from_numpy(np.asarray(chosen))]), statistics)
    print(f"Fréchet distance of the chosen: {time.process_time() - started:.2f} s")


if __name__ == "__main__":
    main()
