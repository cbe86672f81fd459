"""What DFS refuses before it starts, each in one line: sizes, absent data, pairs that are none, known images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainers.config import Config as BaseConfig
from trainers.data.datasets import DataSplit, open_split
from trainers.data.matched import match
from trainers.data.overlap import equal_files
from trainers.errors import UserError
from trainers.networks.features import check_feature_source, check_features
from trainers.networks.segmentation import check_size
from trainers.segmentation.trained import read_description, trained_on
from trainers.translation.dfs_config import Config
from trainers.translation.training import check_crop

NO_SEGMENTER = (
    "weights.segmentation and select_by=miou need an input `segmenter`; else set weights.segmentation=0 and "
    "select_by=psnr"
)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse sizes that the networks cannot take, absent data, pairs that are none, and absent weights."""
    height, width = _training_size(config)
    for name, pixels in (("height", height), ("width", width)):
        _check_side(config, f"the crop's {name}", pixels)
    for name, pixels in (("height", config.height), ("width", config.width)):  # The selection split is not cropped.
        _check_side(config, name, pixels)
    check_crop(config.augmentation, config.height, config.width)
    for split in (*config.sources(), config.target, config.select, config.select_target):
        if split.dataset in inputs:  # Else a stage that has not run yet makes it.
            open_split(inputs, split)
    for source, target in _pairs(config):
        if source.dataset in inputs and target.dataset in inputs:
            match(inputs, source, target)
    if config.features is not None and config.weights.perceptual > 0:
        check_features(config.features, inputs)
    if config.needs_segmenter() and "segmenter" in inputs:
        trained = read_description(inputs["segmenter"])
        check_size(trained.network, height=height, width=width)
        check_size(trained.network, height=config.height, width=config.width)
        check_segmenter_apart(config, trained_on(inputs["segmenter"]) or [], inputs)


def _check_side(config: Config, name: str, pixels: int) -> None:
    stride, least = config.generator.stride(), config.discriminator.least_pixels()
    if pixels % stride:
        near = max(stride, round(pixels / stride) * stride)
        raise UserError(
            f"{name} {pixels} is not a multiple of {stride}, the stride of a generator of depth "
            f"{config.generator.depth}; the nearest is {near}, or lower generator.depth"
        )
    if config.weights.gan > 0 and pixels < least:
        raise UserError(
            f"{name} {pixels} is less than the {least} that {config.discriminator.layers} layers need; take larger "
            "images, or fewer discriminator.layers"
        )


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse losses on a segmenter that is no input."""
    if config.features is not None and config.weights.perceptual > 0:
        check_feature_source(config.features, sources)
    if config.needs_segmenter() and "segmenter" not in sources:
        raise UserError(NO_SEGMENTER)


def check_segmenter_apart(config: Config, seen: Sequence[DataSplit], roots: Mapping[str, Path]) -> None:
    """Refuse a segmenter that was trained on the images that haze is to be taken out of, by content: it knows what they
    show. Also where the selection split's are among those that are learned from.

    ``seen``: the splits that it was trained on; splits that no stage has made yet are left out.

    Raises:
        UserError: with an image that both have.
    """
    used: dict[str, list[Path]] = {}
    for source, target in _pairs(config):
        if source.dataset in roots and target.dataset in roots:
            samples, partners = open_split(roots, source), open_split(roots, target)
            clear = [partners[position].image for position in match(roots, source, target)]
            used[str(source)] = [*(sample.image for sample in samples), *clear]
    learned = [path for source in config.sources() for path in used.get(str(source), ())]
    for split in seen:
        if split.dataset in roots:
            files = [path for one in open_split(roots, split) for path in (one.image, one.partner) if path is not None]
            _refuse_shared(files, learned, f"the segmenter's {split}")
    _refuse_shared(used.get(str(config.select), []), learned, f"the selection split {config.select}")


def _refuse_shared(mine: Sequence[Path], learned: Sequence[Path], whose: str) -> None:
    if shared := equal_files(mine, learned):
        first, second = shared[0]
        same = f"{first} is also {second}" if first != second else str(first)
        raise UserError(f"{whose} shares {len(shared)} image(s) with the hazy or clear ones ({same}); keep them apart")


def _pairs(config: Config) -> list[tuple[DataSplit, DataSplit]]:
    return [*((source, config.target) for source in config.sources()), (config.select, config.select_target)]


def _training_size(config: Config) -> tuple[int, int]:
    return config.augmentation.crop_height or config.height, config.augmentation.crop_width or config.width
