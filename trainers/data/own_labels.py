"""Labels at their own size, which scores are compared at where the network's input is smaller.

Shape legend: h height, w width of a label's file.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from trainers.data.datasets import DATASETS, DataSplit
from trainers.data.image_files import image_size
from trainers.data.images import SplitImages
from trainers.data.packed import is_packed
from trainers.data.samples import Sample
from trainers.errors import UserError

REMEDY = "name the original folder, or set score_size=input for scores at the network's input size"

AHEAD = 8
"""Labels that are decoded while the network computes; 2 MB each at 1024×2048."""


def own_labels(split: SplitImages, *, rank: int, world_size: int) -> Iterator[UInt8[Tensor, "h w"]]:
    """The train ids of this rank's images, in the order of ``evaluation_batches``.

    Raises:
        UserError: a label is missing or cannot be read, or the data set is packed.
    """
    with ThreadPoolExecutor(2) as pool:
        coming: deque[Future[Tensor]] = deque()
        for index in range(rank, len(split), world_size):
            coming.append(pool.submit(split.own_label, index))
            if len(coming) > AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def common_size(samples: Sequence[Sample]) -> tuple[int | None, int | None]:
    """Height and width of the label maps, read from their headers; ``None`` where they differ."""
    sizes = set()
    for sample in samples:
        assert sample.label is not None
        width, height = image_size(sample.label)
        sizes.add((height, width))
    return sizes.pop() if len(sizes) == 1 else (None, None)


def check_own_labels(split: DataSplit, root: Path) -> None:
    """Refuse a packed data set, which has its labels at the packed size alone.

    Raises:
        UserError: it is one, and the split has labels.
    """
    if is_packed(root) and split.split not in DATASETS[split.dataset].unlabeled:
        raise UserError(f"{root} is packed, so {split} has no labels at their own size; {REMEDY}")
