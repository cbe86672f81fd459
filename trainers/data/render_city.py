"""Render Toy City as a stage, so that every trial of every sweep shares one rendering."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.context import TrainContext
from trainers.data.render_city_config import Config
from trainers.data.toy_city import write_tree


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Nothing can be wrong that the config does not refuse."""


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``<domain>/leftImg8bit/…`` and ``<domain>/gtFine/…`` below ``output``; ranks share the images."""
    counts = config.counts()
    total = sum(count for parts in counts.values() for count in parts.values())
    mine = -(-(total - context.rank) // context.world_size)
    frames = write_tree(
        output,
        seed=config.city_seed,
        height=config.height,
        width=config.width,
        counts=counts,
        rank=context.rank,
        world_size=context.world_size,
    )
    for written, _ in enumerate(frames, start=1):
        if context.rank == 0 and (written % 20 == 0 or written == mine):
            context.report({"step": written, "steps": mine})
    context.barrier()
    return {"images": total}
