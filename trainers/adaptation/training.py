"""What all adaptation methods do alike: two domains in a batch, a start from a shared stage, scores, pictures.

Shape legend: n images of this rank, c classes, h height, w width.

The input role ``initial`` is the training stage whose weights come first; without it they are random, or those that the
network's configuration names.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.adaptation.training_config import Config
from trainers.components.configs import AugmentationConfig, PhotometricConfig
from trainers.components.ema import build_teacher
from trainers.components.feature_distance import feature_distance
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import DomainBatch, TargetImages, check_label_source, check_taught, domain_batches
from trainers.data.loader import AugmentedSamples, Batch
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.loop import train
from trainers.pictures import write_panel
from trainers.segmentation import supervised
from trainers.segmentation.supervised import (
    SelectImages,
    SupervisedLearner,
    augmented,
    check_labeled,
    check_networks,
    check_workers,
    learned_classes,
    select_images,
    train_images,
)
from trainers.segmentation.trained import Trained, write_description

OpenedTarget = tuple[Callable[[range], Iterator[Batch]], int]
"""The batches of some steps, source and target; and the number of target images."""

OpenTarget = Callable[[AugmentedSamples, Any, Mapping[str, Path], int, TrainContext], OpenedTarget]
"""Source samples, configuration, inputs, seed, context → batches with the target in them."""

Tiles = Mapping[str, Tensor]
"""Kind → one image (3 h w) in 0…255, its confidence (h w, floating) or its train ids (h w)."""


class AdaptationLearner(SupervisedLearner):
    """The student; a method adds its ``train_step``."""

    config: Config

    def __init__(
        self,
        config: Config,
        *,
        select: SelectImages,
        context: TrainContext,
        pretrained: bool,
        initial: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(config, select=select, context=context, pretrained=pretrained, initial=initial)
        self._seed = seed
        self._fixed = None
        if config.feature_distance.weight > 0:
            self._fixed = build_teacher(self.segmenter).eval()
        self._tiles: Tiles | None = None
        self._panels: dict[str, dict[str, Tensor]] = {}

    def generators(self, step: int, purpose: str) -> list[np.random.Generator]:
        """One for each image of this rank, whatever the number of ranks."""
        slots = range(self.context.rank, self.config.batch_size, self.context.world_size)
        return [np.random.default_rng(derive_seed(self._seed, purpose, step, slot)) for slot in slots]

    def source_losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The supervised losses and, where it is switched on, the feature distance as part of ``loss``."""
        if self._fixed is None:
            with self.autocast():
                logits = self.forward(images, auxiliary=True)
            return self.losses(logits, labels)
        config = self.config.feature_distance
        with self.autocast(), _features_of(self.segmenter.network.encoder) as features:  # type: ignore[arg-type]
            logits = self.forward(images, auxiliary=True)
        with self.autocast(), torch.no_grad():
            fixed = self._fixed.network.encoder(self._fixed.normalize(images))  # type: ignore[operator, union-attr]
        distance = feature_distance(
            features[0][config.stage].float(),
            fixed[config.stage].float(),
            labels,
            all_reduce=self.context.all_reduce,
        )
        losses = self.losses(logits, labels)
        loss = losses["loss"] + config.weight * distance
        return {**losses, "loss": loss, "feature_distance": distance.detach()}

    def score(self) -> Mapping[str, float]:
        """Infomax and, where the select split has labels, mIoU; ``selection`` is the one that the config names."""
        self._keep_panel()
        tally = self.tally_select()
        found = {"infomax": tally.infomax()}
        if int(tally.confusion.sum()):
            found["select_miou"] = self.select_miou(tally)
        return {**found, "selection": found["infomax" if self.config.select_by == "infomax" else "select_miou"]}

    def show(self, step: int, tiles: Tiles) -> None:
        """Remember the pictures of this step, if it is one whose panel is kept; nothing waits for the device."""
        loop, number = self.config.loop, self.config.pictures
        scored = step % loop.score_every_steps == 0 or step == loop.steps
        before = (step - 1) // loop.score_every_steps * loop.score_every_steps
        if scored and number * step // loop.steps > number * before // loop.steps:
            self._tiles = {"step": torch.tensor(step), **{kind: tile.detach() for kind, tile in tiles.items()}}

    def _keep_panel(self) -> None:
        """Move what ``show`` remembered off the device."""
        if self._tiles is not None and self.context.rank == 0:
            tiles = {kind: tile.cpu() for kind, tile in self._tiles.items()}
            step = int(tiles.pop("step"))
            self._panels[str(step)] = {kind: _as_bytes(tile) for kind, tile in tiles.items()}
        self._tiles = None

    def description(self) -> Trained:
        """How to build the network that the weights belong to."""
        return Trained(self.config.network, *self.config.select_size())

    def write_pictures(self, output: Path, caption: str) -> None:
        """Write the panels that were kept, also those from before a restart."""
        for step, tiles in self._panels.items():
            arrays = {kind: (tile.permute(1, 2, 0) if tile.ndim == 3 else tile) for kind, tile in tiles.items()}
            pictures = {kind: np.ascontiguousarray(array.numpy()) for kind, array in arrays.items()}
            write_panel(output, f"step-{int(step):08d}", pictures, title=f"step {step}", caption=caption)

    def state_dict(self) -> dict[str, Any]:
        """Student, optimizer, pictures."""
        return {**super().state_dict(), "panels": self._panels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        super().load_state_dict(state)
        self._panels = dict(state["panels"])


@contextlib.contextmanager
def _features_of(encoder: nn.Module) -> Iterator[list[list[Tensor]]]:
    """What ``encoder`` returns while the context lasts."""
    seen: list[list[Tensor]] = []
    handle = encoder.register_forward_hook(lambda module, arguments, features: seen.append(features))
    try:
        yield seen
    finally:
        handle.remove()


def _as_bytes(tile: Tensor) -> Tensor:
    """A confidence (h w) becomes grey (3 h w)."""
    if tile.ndim == 2 and tile.is_floating_point():
        tile = (tile * 255).expand(3, -1, -1)
    return tile.clamp(0, 255).to(torch.uint8).contiguous()


def check_domains(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data of both domains, and networks that cannot be.

    Raises:
        UserError: one line with the fix.
    """
    check_networks(config, inputs)
    selecting = (config.select, *config.select_also)
    check_labeled(config.train if config.select_by == "infomax" else (*config.train, *selecting), inputs)
    for split in (config.target, *selecting):
        if split.dataset in inputs:
            open_split(inputs, split)


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a start from another network, and an encoder to stay near that knows nothing."""
    supervised.check_sources(config, sources)
    if "pseudo_labels" in sources:
        check_label_source(sources["pseudo_labels"], config.target, config.target_size())
    if config.feature_distance.weight > 0 and "initial" not in sources and config.network.weights == "none":
        raise UserError(
            f"feature_distance.weight {config.feature_distance.weight:g} keeps features near those of random weights; "
            "set network.weights, start from a trained stage, or set feature_distance.weight 0"
        )


def check_adaptation(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run: absent data, networks, domains whose images would differ in size, a padded target.

    Raises:
        UserError: one line with the fix.
    """
    check_domains(config, inputs)
    crop = config.augmentation.crop_height, config.augmentation.crop_width
    height, width = config.target_size()
    check_not_padded(config.augmentation, config.target_size(), "augmentation")
    for name, cropped, ours, theirs in (
        ("height", crop[0], config.height, height),
        ("width", crop[1], config.width, width),
    ):
        if cropped is None and ours != theirs:
            raise UserError(
                f"source images have {name} {ours} and target images {theirs}; set augmentation.crop_{name}, or "
                f"target_{name} to {ours}"
            )


def check_not_padded(augmentation: AugmentationConfig, size: tuple[int, int], field: str) -> None:
    """Refuse a scale after which target images of this size must be padded; ``field`` holds the augmentation."""
    crops = ("height", augmentation.crop_height), ("width", augmentation.crop_width)
    for (name, cropped), pixels in zip(crops, size, strict=True):
        smallest, needed = round(pixels * augmentation.scale_min), cropped or pixels
        if smallest < needed:
            raise UserError(
                f"{field}.scale_min {augmentation.scale_min:g} shrinks target images of {name} {pixels} to {smallest}, "
                f"and what pads them to {needed} would count as target; set {field}.crop_{name} {smallest} or less, "
                "or a larger scale_min"
            )


def run_adaptation(
    make_learner: Callable[..., AdaptationLearner],
    config: Config,
    inputs: Mapping[str, Path],
    output: Path,
    seed: int,
    context: TrainContext,
    *,
    caption: str,
    open_target: OpenTarget | None = None,
) -> dict[str, Any]:
    """Train and leave what supervised training leaves, and pictures; ``open_target`` adds the target to the source."""
    check_workers(config, context)
    labeled = train_images(config, inputs)
    source = augmented(labeled, config, seed)
    classes = learned_classes(labeled)
    opened = open_target or partial(_random_targets, classes=classes)
    batches, unlabeled = opened(source, config, inputs, seed, context)
    ratio = unlabeled / sum(map(len, labeled))
    torch.manual_seed(derive_seed(seed, "initialization"))
    learner = make_learner(
        config,
        select=select_images(config, inputs),
        context=context,
        # The features of the start are needed again after a restart.
        pretrained=context.resume() is None or config.feature_distance.weight > 0,
        initial=inputs.get("initial"),
        seed=seed,
    )
    result = train(
        learner, batches, config.loop, batch_size=config.batch_size, seed=seed, output=output, context=context
    )
    if context.rank == 0:
        seen = (*config.train, config.target)
        trained = replace(learner.description(), class_set=classes)
        write_description(output, trained, seen=seen, initial=inputs.get("initial"))
        learner.write_pictures(output, caption)
    return {**result, "unlabeled_images": unlabeled, "unlabeled_ratio": ratio}


def _random_targets(
    source: AugmentedSamples, config: Config, inputs: Mapping[str, Path], seed: int, context: TrainContext, *,
    classes: str,
) -> OpenedTarget:  # fmt: skip
    """Each source image beside a target image drawn independently of it; ``classes`` are those of the source."""
    height, width = config.target_size()
    unlabeled = TargetImages(
        inputs,
        config.target,
        height=height,
        width=width,
        cache_bytes=config.cache_bytes,
        pseudo_labels=inputs.get("pseudo_labels"),
    )
    if "pseudo_labels" in inputs:
        check_taught(unlabeled, classes)
    # A teacher sees the target as it is; what changes colors acts on the source.
    clean = config.augmentation.model_copy(update={"photometric": PhotometricConfig()})
    target = AugmentedSamples([unlabeled], clean, batch_size=config.batch_size, seed=derive_seed(seed, "target"))

    def batches(steps: range) -> Iterator[DomainBatch]:
        return domain_batches(
            source, target, steps=steps, batch_size=config.batch_size, workers=config.loader_workers, context=context
        )

    return batches, len(unlabeled)
