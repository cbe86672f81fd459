"""Every method by name. To add one: a module with ``run``, its ``<module>_config.py``, and a line here.

A method's **config module** (no torch) has ``Config``, ``VERSION`` (raised whenever its numbers change) and
``SEED_FROM`` ("sweep", "trial", or ``None`` when the stage draws no random numbers). Its **module** has
``check(config, inputs)``, which raises ``UserError`` before anything starts (optionally ``check_sources(config,
sources)`` too, which sees the configurations of the stages that make its inputs, and ``check_segmenter_apart(config,
seen, roots)``, which sees the splits that its input ``segmenter`` was trained on), and
``run(config, inputs, output, seed, context)``, which fills the folder ``output`` and returns JSON values for the
artifact's manifest. ``inputs`` maps an input's role, or the name of a data set, to its folder.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trainers.config import Config, SeedFrom
from trainers.errors import UserError, nearest

METHODS = {
    "toy_city": "trainers.data.render_city",
    "pack": "trainers.data.pack",
    "fog": "trainers.data.fog",
    "recombine": "trainers.data.recombine",
    "supervised": "trainers.segmentation.supervised",
    "evaluation": "trainers.segmentation.evaluate",
    "pseudo_labels": "trainers.selection.pseudo_labels",
    "adabn": "trainers.adaptation.adabn",
    "fda": "trainers.adaptation.fda",
    "self_training": "trainers.adaptation.self_training",
    "dacs": "trainers.adaptation.dacs",
    "dannet": "trainers.adaptation.dannet",
    "bimix": "trainers.adaptation.bimix",
    "unit": "trainers.translation.unit",
    "dfs": "trainers.translation.dfs",
    "pix2pixhd": "trainers.translation.pix2pixhd",
    "translate": "trainers.translation.translate",
    "features": "trainers.measures.features",
    "frechet": "trainers.measures.frechet",
    "image_quality": "trainers.measures.image_quality",
    "light_split": "trainers.selection.light_split",
    "selection": "trainers.selection.select_images",
    "agreement": "trainers.selection.agreement",
}
"""Method name → module."""


@dataclass(frozen=True)
class Method:
    """A method as far as it is known without importing torch."""

    name: str
    config: type[Config]
    version: int
    seed_from: SeedFrom | None

    def load(self) -> Any:
        """The module with ``check`` and ``run``; imports torch."""
        return import_module(METHODS[self.name])


def method(name: str) -> Method:
    """The method called ``name``."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}: {nearest(name, METHODS)}")
    module = import_module(f"{METHODS[name]}_config")
    return Method(name, module.Config, module.VERSION, module.SEED_FROM)
