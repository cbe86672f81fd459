"""Which network's features a perceptual loss or a distance between data sets looks at. No torch here."""

from pathlib import Path
from typing import Any, Literal

from pydantic import model_serializer, model_validator

from trainers.config import Config
from trainers.data.fingerprint import hash_file
from trainers.errors import UserError, nearest

INCEPTION_LAYERS = ("64", "192", "768", "2048")
"""Named by their channels, as pytorch-fid's ``--dims``."""

VGG_LAYERS = {
    name: tuple(
        f"relu{block}_{number}" for block, count in enumerate(counts, start=1) for number in range(1, count + 1)
    )
    for name, counts in {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}.items()
}
"""Network → its activations."""

SEGMENTER_LAYERS = tuple(str(stage) for stage in range(-6, 6))
"""Stages of the encoder, from the shallowest (0) or the deepest (-1)."""

LAYERS = {"inception": INCEPTION_LAYERS, **VGG_LAYERS, "segmenter": SEGMENTER_LAYERS, "colors": ("rgb",)}
"""Network → the layers that it can give."""

DEFAULT_LAYER = {"inception": "2048", "vgg16": "relu5_3", "vgg19": "relu5_4", "segmenter": "-1", "colors": "rgb"}


class FeatureConfig(Config):
    """A frozen network and one of its layers; written ``NETWORK[@LAYER][:WEIGHTS]``, as in ``vgg16@relu4_3:random``.

    ``WEIGHTS`` is ``random``, or the path of a file (of a training stage's folder for ``segmenter``; on a command line
    also ``segmenter:artifact:KEY``). Left out, they are the published ones, which download; ``segmenter`` takes the
    stage of that input role. ``colors`` is no network: the image itself, whose vector is the mean of each channel.
    """

    network: Literal["inception", "vgg16", "vgg19", "segmenter", "colors"]
    layer: str
    """One of ``LAYERS``; left out it is the deepest."""
    weights: str = "published"
    """``published``, ``random``, or a path. Nothing is ever random unasked."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        named, _, weights = value.partition(":")
        network, _, layer = named.partition("@")
        layer = layer or DEFAULT_LAYER.get(network, "")
        return {"network": network, "layer": layer, **({"weights": weights} if weights else {})}

    @model_validator(mode="after")
    def _known(self) -> "FeatureConfig":
        if self.layer not in LAYERS[self.network]:
            raise ValueError(f"{self.network} has no layer {self.layer!r}: {nearest(self.layer, LAYERS[self.network])}")
        if self.network == "segmenter" and self.weights == "random":
            raise ValueError("a segmenter has trained weights; for random features take vgg16:random")
        if self.network == "colors" and self.weights != "published":
            raise ValueError(f"colors have no weights, got {self.weights!r}; leave them out")
        return self

    @model_serializer
    def _written(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.network}@{self.layer}" + ("" if self.weights == "published" else f":{self.weights}")

    def weights_path(self) -> Path | None:
        """The path in ``weights``, when it is one."""
        return None if self.weights in ("published", "random") else Path(self.weights).expanduser()

    def needs_input(self) -> bool:
        """Whether the network comes from the input role ``segmenter``."""
        return self.network == "segmenter" and self.weights == "published"

    def key(self) -> str:
        """What stands in a stage key: a file counts by its bytes, not by its path.

        Raises:
            UserError: the file does not exist.
        """
        path = self.weights_path()
        if path is None:
            return str(self)
        path = path / "final.pt" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"the features {self} need {path}, which does not exist")
        return f"{self.network}@{self.layer}:sha256 {hash_file(path, full=True)}"
