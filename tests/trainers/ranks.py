"""Two ranks in one process."""

from pathlib import Path

import torch

from trainers.context import PlainContext


class Rank(PlainContext):
    """One of two ranks that run one after the other: sums over both are given, not made."""

    def __init__(self, folder: Path, rank: int, sums: list[torch.Tensor]) -> None:
        super().__init__(folder)
        self.rank, self.world_size, self._sums = rank, 2, sums

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        self._sums.append(tensor.clone())
        others = [one for one in self._sums[:-1] if one.shape == tensor.shape]
        return sum(others, tensor.clone())
