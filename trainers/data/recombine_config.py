"""Configuration of the stage that recombines label maps."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from trainers.components.class_laws import LAWS
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DATASETS, DataSplit
from trainers.data.label_spaces import CITYSCAPES, CLASS_NAMES
from trainers.errors import nearest

VERSION = 2
SEED_FROM: SeedFrom | None = "sweep"
"""Generating a supplement costs more than any training that it is for; all seeds share one."""

BACK_TO_FRONT = (
    "sky", "building", "vegetation", "terrain", "road", "sidewalk", "wall", "fence", "train", "bus", "truck", "car",
    "pole", "traffic_sign", "traffic_light", "motorcycle", "bicycle", "rider", "person",
)  # fmt: skip


class Config(BaseConfig):
    """Label maps made of single-class maps of a labeled split, as the data set ``recombined``."""

    split: DataSplit
    """Labeled split with raw Cityscapes label ids and instance maps: bases, and donors of every class."""
    kind: Literal["add", "reconstruct"] = "add"
    """``add``: the base keeps what stands in front of what is pasted; ``reconstruct``: it shows only where nothing
    pasted covers it. Void pixels of the base stay in both."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """Classes that are pasted, by name; unset: every class that the split shows. Source: wall; or wall, fence, pole,
    traffic light and train; or all."""
    law: str | None = None
    """A key of ``LAWS``: shares that the classes of ``classes`` shall have of the pixels of split and supplement
    together, among themselves. Each map adds those that are the furthest below. Unset: each map adds every class."""
    classes_per_map: int | None = Field(None, ge=1, le=len(CLASS_NAMES))
    """How many of ``classes`` each map adds, where a ``law`` says which."""
    ratio: float = Field(1.0, gt=0, le=20)
    """New maps for each image of the split. Source: not given."""
    min_share: float = Field(0.0005, gt=0, lt=1)
    """Share of a map's pixels that a single-class map must have to be a donor, and to show where it is pasted."""
    donor_tries: int = Field(10, ge=1)
    """Donors that are tried where what stands in front hides the first ones; then the class is left out."""
    order: tuple[str, ...] = BACK_TO_FRONT
    """All classes, from what is always behind to what is always in front."""
    images: bool = False
    """Whether pixels of the photographs are pasted along, as the split ``recombined/pasted``."""
    height: int | None = Field(None, ge=16)
    """Pixels of the maps, labels by nearest neighbor; unset keeps those of the split."""
    width: int | None = Field(None, ge=16)
    """The same."""
    checkpoint_every_images: int = runtime_field(200, ge=1)
    """Maps of each worker after which what exists is kept: the most that a kill costs."""
    threads: int = runtime_field(2, ge=1)
    """Maps that are worked on at once."""
    cache_bytes: int = runtime_field(1 << 30, ge=0)
    """Decoded label maps that are kept in memory."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Panels of bases beside what became of them."""

    @field_validator("classes", "order")
    @classmethod
    def _are_classes(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in CLASS_NAMES:
                raise ValueError(f"unknown class {name!r}: {nearest(name, CLASS_NAMES)}")
        if names is not None and len(set(names)) < len(names):
            raise ValueError(f"every class once, got {', '.join(names)}")
        return names

    @field_validator("law")
    @classmethod
    def _known(cls, law: str | None) -> str | None:
        if law is not None and law not in LAWS:
            raise ValueError(f"unknown law {law!r}: {nearest(law, LAWS)}")
        return law

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        dataset = DATASETS[self.split.dataset]
        if dataset.label_map != CITYSCAPES or self.split.split in dataset.unlabeled:
            raise ValueError(f"recombination needs labels with the raw ids of Cityscapes, which {self.split} has not")
        if len(self.order) < len(CLASS_NAMES):
            missing = ", ".join(name for name in CLASS_NAMES if name not in self.order)
            raise ValueError(f"order must place every class, {missing} is missing")
        if (self.height is None) != (self.width is None):
            raise ValueError("give both height and width, or none")
        if (self.law is None) != (self.classes_per_map is None):
            raise ValueError("give both law and classes_per_map, or none: then each map adds every class")
        if self.classes and self.classes_per_map and self.classes_per_map > len(self.classes):
            raise ValueError(f"classes_per_map is {self.classes_per_map}, and classes names {len(self.classes)}")
        return self
