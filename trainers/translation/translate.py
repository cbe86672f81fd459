"""Translate a data set with the translator of the input role ``translator``: one PNG an image, labels by reference.

What is translated is each sample's image or, with a translator of label maps, its label map: whole (tiles would differ
in color, for norms are of what they see), each by one rank, in float32, and saved in its own size with the fixed range
0…255. A run that was killed goes on behind its last checkpoint.

Shape legend: h height, w width.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import DATASETS, DataSplit, label_map_of, name_of, open_split
from trainers.data.fingerprint import hash_file
from trainers.data.image_files import decode, read_label_ids, to_rgb
from trainers.data.instances import check_instances
from trainers.data.label_maps import EDGES_REMEDY
from trainers.data.label_spaces import lookup_table
from trainers.data.made_files import check_room, encoded_bytes, keep_files, save_png, take_back_files
from trainers.data.references import Reference, write_references
from trainers.data.samples import Sample
from trainers.errors import UserError
from trainers.pictures import evenly_spaced, write_panel
from trainers.translation.enhancement import clahe, gamma
from trainers.translation.pix2pixhd_config import Config as Pix2PixHDConfig
from trainers.translation.translate_config import Config, EnhanceConfig
from trainers.translation.translators import (
    FROM_LABEL_MAPS,
    Translator,
    check_direction,
    check_forward,
    load_translator,
    read_translator,
)

IMAGES = "images"
ESTIMATED_FROM = 4
"""Images that are translated in memory to estimate what all of them take."""


@dataclass(frozen=True)
class Task:
    """One image to translate."""

    sample: Sample
    name: str
    """Of the translation, below the output folder."""
    is_photograph: bool
    """Whether the sample's image is one, not the picture of a label map."""


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data, and images of the domain that the translator leads to."""
    for split in config.splits().values():
        if split.dataset in inputs:
            open_split(inputs, split)
    if "translator" in inputs:
        described = read_translator(inputs["translator"])
        ends = [DataSplit.model_validate(described[end]) for end in ("source", "target")]
        _check_domains(config, *ends)
        if described["method"] in FROM_LABEL_MAPS:
            _check_label_maps(config, inputs, edges=described["generator"]["edges"])


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """The same refusal before the translator is trained."""
    trained = dict(sources["translator"]) if "translator" in sources else {}
    if isinstance(sources.get("translator"), Pix2PixHDConfig):
        _check_label_maps(config, {}, edges=False)
    if {"source", "target"} <= set(trained):
        _check_domains(config, trained["source"], trained["target"])


def _check_domains(config: Config, source: DataSplit, target: DataSplit) -> None:
    origin, goal = (source, target) if config.direction == "forward" else (target, source)
    for split in config.splits().values():
        check_direction(split, origin=origin, goal=goal)


def _check_label_maps(config: Config, inputs: Mapping[str, Path], *, edges: bool) -> None:
    """Refuse what a translator of label maps cannot do, and ``edges`` without instance maps."""
    check_forward(config.direction)
    if config.unlabeled is not None:
        raise UserError(
            f"unlabeled is {config.unlabeled}, whose labels nobody shall read, and this translator makes images of "
            "label maps; give the split as train, val or test"
        )
    for split in config.splits().values():
        if edges and split.dataset in inputs:
            check_instances(open_split(inputs, split), EDGES_REMEDY)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``images/<part>/<number>_<stem>.png`` and ``references.json``.

    Returns:
        ``images`` by part, the ``step`` of the translator's checkpoint, and what it translates ``from`` and ``to``.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    translator = load_translator(
        inputs["translator"], config.checkpoint, direction=config.direction, device=context.device
    )
    tasks = {part: _tasks(part, open_split(inputs, split), split) for part, split in config.splits().items()}
    if context.rank == 0:
        for part in tasks:
            (output / IMAGES / part).mkdir(parents=True)
        take_back_files(context.resume(), output)
    context.barrier()
    check_disk([task for part in tasks.values() for task in part], translator, config, output)
    context.barrier()  # Nobody writes while another still looks at what is free.
    _translate([task for part in tasks.values() for task in part], translator, config, output, context)
    context.barrier()
    if context.rank == 0:
        _write_index(config, inputs, tasks, output)
        dataset = next(iter(config.splits().values())).dataset
        label_map = None if translator.label_maps is None else label_map_of(dataset, inputs[dataset])
        _draw([task for part in tasks.values() for task in part], config.pictures, output, label_map)
    return {
        "images": {part: len(found) for part, found in tasks.items()},
        "step": translator.step,
        "from": str(translator.origin),
        "to": str(translator.goal),
    }


def _tasks(part: str, samples: list[Sample], split: DataSplit) -> list[Task]:
    is_photograph = split.split not in DATASETS[split.dataset].without_photographs
    return [
        Task(sample, f"{IMAGES}/{part}/{number:06d}_{sample.image.stem}.png", is_photograph)
        for number, sample in enumerate(samples)
    ]


def check_disk(tasks: list[Task], translator: Translator, config: Config, output: Path) -> None:
    """Refuse what would not fit, by the size of a few translations; every rank looks at the same ones.

    Raises:
        UserError: with both sizes.
    """
    absent = [task for task in tasks if not (output / task.name).exists()]
    looked_at = [absent[place] for place in evenly_spaced(ESTIMATED_FROM, len(absent))] if absent else []
    sizes = [encoded_bytes(_translated(translator.read(task.sample), translator, config)) for task in looked_at]
    what = f"{len(absent)} translated images"
    check_room(
        output, sizes, len(absent), what=what, remedy="free some space, give another --storage, or translate fewer"
    )


def _translated(image: Tensor, translator: Translator, config: Config) -> UInt8[np.ndarray, "h w 3"]:
    """What is saved of one image."""
    size = None
    if config.inference_height is not None and config.inference_width is not None:
        size = (config.inference_height, config.inference_width)
    return enhanced(translator(image, size=size).permute(1, 2, 0).contiguous().numpy(), config.enhance)


def _translate(tasks: list[Task], translator: Translator, config: Config, output: Path, context: TrainContext) -> None:
    """This rank's share; every rank reports as often as the others, also with an image less."""
    rounds = -(-len(tasks) // context.world_size)
    mine = tasks[context.rank :: context.world_size]
    absent = [task for task in mine if not (output / task.name).exists()]
    coming = _read(absent, translator)
    for number in range(1, rounds + 1):
        if number <= len(mine) and not (output / mine[number - 1].name).exists():
            save_png(_translated(next(coming), translator, config), output / mine[number - 1].name)
        if number % config.checkpoint_every_images == 0 and number < rounds:
            context.barrier()  # What the others wrote before is whole.
            context.report({"step": number, "steps": rounds}, lambda folder: keep_files(output, folder))


def _read(tasks: list[Task], translator: Translator) -> Iterator[Tensor]:
    """What the translator needs of ``tasks``, each read while the one before is translated."""
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(translator.read, tasks[0].sample) if tasks else None
        for number in range(len(tasks)):
            assert waiting is not None
            image = waiting.result()
            if number + 1 < len(tasks):
                waiting = ahead.submit(translator.read, tasks[number + 1].sample)
            yield image


def enhanced(image: UInt8[np.ndarray, "h w 3"], config: EnhanceConfig) -> UInt8[np.ndarray, "h w 3"]:
    """What ``config`` makes of it."""
    if config.kind == "gamma":
        return gamma(image, config.gamma)
    return clahe(image, clip=config.clip, tiles=config.tiles) if config.kind == "clahe" else image


def _write_index(config: Config, inputs: Mapping[str, Path], tasks: Mapping[str, list[Task]], output: Path) -> None:
    references, fingerprints = {}, {}
    for part, split in config.splits().items():
        names = tuple(name_of(task.sample, inputs, split) for task in tasks[part])
        references[part] = Reference(str(split), names, tuple(task.name for task in tasks[part]))
        fingerprints[part] = _fingerprint_of_labels(tasks[part])
        label_map = label_map_of(split.dataset, inputs[split.dataset])
    write_references(output, references, label_map=label_map, fingerprints=fingerprints)


def _fingerprint_of_labels(tasks: list[Task]) -> str:
    """SHA-256 over the labels in order, by content alone."""
    hashes = [hash_file(task.sample.label, full=False) for task in tasks if task.sample.label is not None]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _draw(tasks: list[Task], count: int, output: Path, label_map: Mapping[int, int] | None) -> None:
    """``label_map``: of the label maps that were translated; ``None``: images were."""
    for index in evenly_spaced(count, len(tasks)):
        task = tasks[index]
        tiles = {}
        if label_map is not None:
            assert task.sample.label is not None
            tiles["label map"] = lookup_table(label_map)[read_label_ids(task.sample.label)]
        if task.is_photograph:
            kind = "input" if label_map is None else "real"
            tiles[kind] = np.array(to_rgb(decode(task.sample.image), task.sample.image))
        tiles["translated"] = np.array(decode(output / task.name))
        # Under the title that the panel of the recombined map has, where it stands beside its base.
        title = task.sample.image.stem.removesuffix("_gtFine_color")
        write_panel(output, f"{index:06d}", tiles, title=title)
