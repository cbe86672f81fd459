"""Search spaces: one file each; ``METHOD`` and ``SPACE``, a dict of Optuna distributions over its config fields.

A space is data: a test samples every one of them and validates each sample against the method's configuration.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from trainers.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SPACES = {
    "loss_alpha": "search_spaces.loss_alpha",
    "training": "search_spaces.training",
    "fda_beta": "search_spaces.fda_beta",
    "fda_beta_small": "search_spaces.fda_beta_small",
    "fda_beta_medium": "search_spaces.fda_beta_medium",
    "dacs": "search_spaces.dacs",
    "mic": "search_spaces.mic",
    "mic_small": "search_spaces.mic_small",
    "bimix": "search_spaces.bimix",
    "unit": "search_spaces.unit",
    "fid_threshold": "search_spaces.fid_threshold",
    "unlabeled_ratio": "search_spaces.unlabeled_ratio",
    "night_selection": "search_spaces.night_selection",
    "self_training_alpha": "search_spaces.self_training_alpha",
    "dfs": "search_spaces.dfs",
    "pix2pixhd": "search_spaces.pix2pixhd",
    "supplement": "search_spaces.supplement",
}
"""Space name → module."""


def space(name: str) -> "tuple[str, dict[str, BaseDistribution]]":
    """The method that the space varies, and {dotted field of its config: distribution}."""
    if name not in SPACES:
        raise UserError(f"unknown search space {name!r}: {nearest(name, SPACES)}")
    module = import_module(SPACES[name])
    return module.METHOD, module.SPACE
