"""Label maps as what a network sees: raw label ids, and where one object ends and the next begins.

Raw ids tell void classes apart, which train ids lump together as 255: an image has something there too.

Shape legend: n images, k planes (label ids; instance ids or boundaries), h height, w width, ch and cw those of a crop.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int32, Num, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from trainers.components.configs import AugmentationConfig
from trainers.context import TrainContext
from trainers.data.checks import check_sizes
from trainers.data.datasets import DataSplit
from trainers.data.image_files import decode, read_label_ids, to_rgb
from trainers.data.images import SplitImages, resized
from trainers.data.instances import check_instances, read_instances
from trainers.data.label_spaces import COLORS, IGNORE_LABEL, lookup_table
from trainers.data.loader import load
from trainers.data.nearest import resize_ids
from trainers.data.samples import Sample
from trainers.data.sampling import derive_seed, sample_index
from trainers.data.transforms import augment, build_augmentation
from trainers.errors import UserError

EDGES_REMEDY = "set generator.edges=false to do without instance maps"

ImageAndLabelMap = tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "k h w"]]


def read_label_map(sample: Sample, *, label_nc: int, edges: bool) -> Int32[Tensor, "k h w"]:
    """Label ids and, with ``edges``, instance ids of one sample, as stored.

    Raises:
        UserError: a label id is not below ``label_nc``, or the instance map has another size or is none.
    """
    assert sample.label is not None
    labels = read_label_ids(sample.label)
    if unknown := sorted(set(np.unique(labels).tolist()) - set(range(label_nc))):
        raise UserError(
            f"{sample.label} holds label id {unknown[0]}, and the generator knows 0 to {label_nc - 1}; give it raw "
            f"label ids, not train ids, or raise generator.label_nc ({label_nc})"
        )
    planes = [labels.astype(np.int32)]
    if edges:
        planes.append(read_instances(sample.label, labels.shape))
    return torch.from_numpy(np.stack(planes))


def boundaries(instances: Num[Tensor, "*n h w"]) -> Bool[Tensor, "*n h w"]:
    """Pixels whose instance differs from that of the pixel above, below, to the left or to the right."""
    found = torch.zeros_like(instances, dtype=torch.bool)
    down = instances[..., 1:, :] != instances[..., :-1, :]
    across = instances[..., 1:] != instances[..., :-1]
    found[..., 1:, :] |= down
    found[..., :-1, :] |= down
    found[..., 1:] |= across
    found[..., :-1] |= across
    return found


def label_colors(label_map: Mapping[int, int], label_nc: int) -> UInt8[Tensor, "ids 3"]:
    """RGB of each label id, that of its class; black where it is none."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(COLORS)] = COLORS
    colors[IGNORE_LABEL] = 0
    return torch.from_numpy(colors[lookup_table(label_map)[:label_nc]])


class LabelMapImages(SplitImages):
    """Images with their label maps: planes of raw label ids and, with ``edges``, of boundaries (0 or 1).

    Boundaries are found at the size of training, so that they are one pixel wide there too.
    """

    def __init__(
        self,
        roots: Mapping[str, Path],
        split: DataSplit,
        *,
        height: int,
        width: int,
        label_nc: int,
        edges: bool,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self._label_nc, self._edges = label_nc, edges
        super().__init__(roots, split, height=height, width=width, cache_bytes=cache_bytes)
        if self._packed is not None:
            raise UserError(f"{roots[split.dataset]} is packed, with train ids alone; name the original folder")
        if edges:
            check_instances(self.samples, EDGES_REMEDY)

    def num_planes(self) -> int:
        """Red, green, blue, label id and, perhaps, boundary."""
        return 5 if self._edges else 4

    def __getitem__(self, index: int) -> ImageAndLabelMap:
        planes = self.planes(index)
        return planes[:3], planes[3:]

    def _read(self, sample: Sample) -> UInt8[Tensor, "k h w"]:
        """The planes of one sample."""
        image = to_rgb(decode(sample.image), sample.image)
        ids = read_label_map(sample, label_nc=self._label_nc, edges=self._edges)
        check_sizes(sample, image.size, (ids.shape[2], ids.shape[1]))
        ids = resize_ids(ids, (self.height, self.width))
        pixels = torch.tensor(resized(image, (self.width, self.height)))
        return torch.cat([pixels, ids[:1].to(torch.uint8), boundaries(ids[1:]).to(torch.uint8)])


@dataclass(frozen=True)
class LabelMapBatch:
    """Images in 0…255 and their label maps, on the device."""

    images: UInt8[Tensor, "n 3 h w"]
    label_maps: UInt8[Tensor, "n k h w"]
    """Raw label ids, and boundaries where they are asked for."""


class AugmentedLabelMaps(Dataset[ImageAndLabelMap]):
    """Images and label maps addressed by (step, slot), a pure function of (seed, step, slot): both move alike."""

    def __init__(self, images: LabelMapImages, config: AugmentationConfig, *, batch_size: int, seed: int) -> None:
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self._augmentation = build_augmentation(config, height=images.height, width=images.width)

    def __getitem__(self, address: tuple[int, int]) -> ImageAndLabelMap:
        step, slot = address
        index = sample_index(self._seed, step, slot, batch_size=self._batch_size, num_samples=len(self._images))
        image, planes = self._images[index]
        return augment(image, planes, self._augmentation, seed=derive_seed(self._seed, "augment", step, slot))


def label_map_batches(
    samples: AugmentedLabelMaps, *, steps: range, batch_size: int, workers: int | None, context: TrainContext
) -> Iterator[LabelMapBatch]:
    """The batches of ``steps`` in order; this rank's share of each is every ``world_size``-th slot."""
    addresses = [[(step, slot) for slot in range(context.rank, batch_size, context.world_size)] for step in steps]
    for images, planes in load(samples, addresses, workers, context):
        yield LabelMapBatch(images, planes)
