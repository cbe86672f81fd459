"""Named experiments: one file per study. To add one: a file with ``SUMMARY`` and ``PRESETS``, and a line here."""

from collections.abc import Callable
from importlib import import_module

from orchestrator.graph import Experiment
from trainers.errors import UserError, nearest

EXPERIMENTS = {
    "demo": "orchestrator.experiments.demo",
    "camvid": "orchestrator.experiments.camvid",
    "gta5_to_cityscapes": "orchestrator.experiments.gta5_to_cityscapes",
    "toy_city": "orchestrator.experiments.toy_city",
    "game_to_day": "orchestrator.experiments.game_to_day",
    "day_to_dusk": "orchestrator.experiments.day_to_dusk",
    "bimix": "orchestrator.experiments.bimix",
    "night_translation": "orchestrator.experiments.night_translation",
    "night_self_training": "orchestrator.experiments.night_self_training",
    "dehazing": "orchestrator.experiments.dehazing",
    "label_to_image": "orchestrator.experiments.label_to_image",
    "label_balancing": "orchestrator.experiments.label_balancing",
}
"""Experiment name → module; its ``PRESETS`` are {preset: function that builds the experiment}, default first."""


def presets(name: str) -> dict[str, Callable[[], Experiment]]:
    """The presets of an experiment."""
    if name not in EXPERIMENTS:
        raise UserError(f"unknown experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    found: dict[str, Callable[[], Experiment]] = import_module(EXPERIMENTS[name]).PRESETS
    return found


def build(name: str, preset: str | None = None) -> Experiment:
    """The experiment ``name`` with the settings of ``preset`` (default: its first)."""
    known = presets(name)
    if preset is None:
        preset = next(iter(known))
    if preset not in known:
        raise UserError(f"{name} has no preset {preset!r}: {nearest(preset, known)}")
    return known[preset]()
