"""Configuration of an evaluation."""

from typing import Any, Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, added_field, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None

IIOU_VERSION = 2
"""Of ``iiou``, which few evaluations have: the keys of the others need not move with it. 1: objects were weighed by the
mean sizes of the scored images, whatever the classes."""

OWN_DATA = frozenset({"labeled_folder"})
"""Data sets of the user's own, which no published table fixes a size for."""


class Config(BaseConfig):
    """Score one checkpoint of a segmenter on one split."""

    split: DataSplit
    """Split to score on; without labels only ``infomax`` is defined."""
    checkpoint: Literal["best", "final"] = "best"
    """Which of the two the training stage kept."""
    height: int | None = Field(None, ge=32)
    """Input height in pixels; unset takes that at which the training was scored."""
    width: int | None = Field(None, ge=32)
    """Input width in pixels; unset takes the training's."""
    score_size: Literal["input", "label"] | None = added_field(None)
    """Size at which predictions are compared with labels. ``label``: logits are resized bilinearly to each label's own
    size before the best class is taken, as ``predict`` does and as published numbers are; ``input``: labels are
    resized to the network's input, which hides what that lost. Unset: ``label`` for ``labeled_folder``, else ``input``.
    ``infomax``, which reads no labels, is always taken at the input's size."""
    batch_mean_size: int | None = added_field(None, ge=1)
    """Also score ``miou_batchmean`` over batches of so many images, to compare with tables made that way."""
    instances: bool = added_field(False)
    """Also score ``iiou``, for which an instance map must lie beside every label map, as in Cityscapes. Of the classes
    of Cityscapes objects are weighed by its published mean sizes, of others by those of the scored images."""
    class_weight_strength: float = added_field(0.0, ge=0, le=1)
    """s of the class weights that multiply the logits before the best class is taken; 0 leaves them alone. The
    frequencies are those that the training weighed its classes by. Source: DANNet, .16, tuned there on the split that
    is reported."""
    batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass."""
    pictures: int = runtime_field(4, ge=0)
    """Images to draw with truth, prediction and error. No score depends on it, so it is not in the key and raised no
    version: evaluations that exist without pictures stay hits, and the report shows the pictures that there are."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""

    def at_label_size(self) -> bool:
        """Whether predictions are compared with labels at the labels' own size."""
        return self.score_size == "label" or (self.score_size is None and self.split.dataset in OWN_DATA)

    def content(self) -> dict[str, Any]:
        """The version of ``iiou``, where that is scored."""
        return {"iiou_version": IIOU_VERSION} if self.instances else {}

    def resolved(self, *, device_type: str) -> "Config":
        """Say ``score_size`` where unset means the labels' size; leave it unsaid where it means the input's, as keys of
        before do."""
        by_default = Config.model_construct(split=self.split).at_label_size()
        if self.at_label_size():
            return self.model_copy(update={"score_size": "label"})
        return self if by_default else self.model_copy(update={"score_size": None})
