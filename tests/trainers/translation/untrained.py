"""Translators as their training leaves them, without the training."""

from pathlib import Path

import torch

from trainers.data.datasets import DataSplit
from trainers.translation.pix2pixhd_config import LabelGeneratorConfig
from trainers.translation.pix2pixhd_networks import Pix2PixHD
from trainers.translation.translators import write_translator

SMALL = {"width": 8, "downsamplings": 2, "blocks": 1}
"""Fields of a small generator; its stride is 4."""

DAY = DataSplit.model_validate("toy_city/day_train")


def global_generator(folder: Path, **fields: object) -> Path:
    """A generator from label maps, with ``SMALL`` or other ``fields``."""
    config = LabelGeneratorConfig.model_validate({**SMALL, **fields})
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    torch.save({"weights": Pix2PixHD(config).state_dict(), "step": 5}, folder / "final.pt")
    write_translator(folder, "pix2pixhd", generator=config, source=DAY, target=DAY)
    return folder
