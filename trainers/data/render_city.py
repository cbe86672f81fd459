"""Render Toy City as a stage, so that every trial of every sweep shares one rendering."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.context import TrainContext
from trainers.data.render_city_config import Config
from trainers.data.toy_city import plan_tree, write_tree


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Nothing can be wrong that the config does not refuse."""


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Fill ``output`` as the docstring of ``toy_city`` describes; ranks share the images."""
    counts, pairs, night_pool = config.counts(), config.pairs, config.pool_images()
    total = len(plan_tree(counts, seed=config.city_seed, pairs=pairs, night_pool=night_pool))
    mine = -(-(total - context.rank) // context.world_size)
    frames = write_tree(
        output,
        seed=config.city_seed,
        height=config.height,
        width=config.width,
        counts=counts,
        pairs=pairs,
        night_pool=night_pool,
        rank=context.rank,
        world_size=context.world_size,
    )
    for written, _ in enumerate(frames, start=1):
        if context.rank == 0 and (written % 20 == 0 or written == mine):
            context.report({"step": written, "steps": mine})
    context.barrier()
    return {"images": total}
