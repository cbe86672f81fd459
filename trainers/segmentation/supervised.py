"""Supervised segmentation: labeled images, cross-entropy and focal loss, one network.

Shape legend: n images of this rank, c classes, h height, w width.

Source: the night thesis, sections 3.3 and 4.3 (network, combined loss); it gives no optimizer, rate, batch or crop,
    so ours are stated in the config.
Logs: ``loss``, ``cross_entropy``, ``focal`` (nats per valid pixel), with auxiliary heads ``auxiliary``, their weighed
    part of ``loss``; ``selection`` (mIoU of the select split).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.components.configs import OWN_STATISTICS
from trainers.components.losses import combined_loss
from trainers.components.networks import AUXILIARY_WEIGHTS
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.checks import check_has_classes
from trainers.data.datasets import DATASETS, DataSplit
from trainers.data.images import JoinedImages, SplitImages
from trainers.data.label_spaces import class_ids, class_set_of
from trainers.data.loader import AugmentedSamples, Batch, evaluation_batches, training_batches
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.evaluation import Tally, scores, tally_split
from trainers.loop import train
from trainers.networks.optimizers import build_optimizer, set_learning_rate
from trainers.networks.segmentation import (
    Segmenter,
    build_segmenter,
    check_network,
    check_single_image,
    freeze_batch_norm,
)
from trainers.segmentation.supervised_config import Config
from trainers.segmentation.trained import Trained, check_initial, check_same_network, load_initial, write_description

SelectImages = SplitImages | JoinedImages
"""What a checkpoint is chosen by."""


class SupervisedLearner:
    """One network, one optimizer, one loss."""

    def __init__(
        self,
        config: Config,
        *,
        select: SelectImages,
        context: TrainContext,
        pretrained: bool,
        initial: Path | None = None,
    ) -> None:
        """``initial``: the folder of a training stage whose last weights are the first ones here."""
        self.config, self.context, self._select = config, context, select
        segmenter = self.first_network(pretrained=pretrained, initial=initial)
        self.segmenter = distributed.prepare(segmenter, config.batch_norm, context)
        if context.device.type == "cuda":
            self.segmenter.to(memory_format=torch.channels_last)
        self.forward = distributed.parallel(self.whole_step(), context)
        self.optimizer = build_optimizer(self.segmenter, config.optimizer)

    def first_network(self, *, pretrained: bool, initial: Path | None) -> Segmenter:
        """The network as training finds it."""
        segmenter = build_segmenter(self.config.network, pretrained=pretrained and initial is None)
        if initial is not None:
            load_initial(segmenter, self.config.network, initial)
        return segmenter

    def whole_step(self) -> nn.Module:
        """What a step calls, and ranks share the gradients of."""
        return self.segmenter

    def train_step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Forward, backward, clip, step."""
        config = self.config
        self.training_mode()
        set_learning_rate(self.optimizer, config.optimizer, step, steps=config.loop.steps)
        with self.autocast():
            logits = self.forward(batch.images, auxiliary=True)
        losses = self.losses(logits, batch.labels)
        self.descend(losses["loss"])
        return losses

    def descend(self, loss: Tensor) -> None:
        """One step of the optimizer against this rank's share of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, self.context)
        if self.config.optimizer.clip_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.segmenter.parameters(), self.config.optimizer.clip_gradient_norm)
        self.optimizer.step()

    def losses(self, logits: tuple[Tensor, ...], labels: Tensor) -> dict[str, Tensor]:
        """The combined loss; where there are auxiliary heads, the weighed sum of theirs is part of ``loss``."""
        main, *heads = (
            combined_loss(one.float(), labels, self.config.loss, all_reduce=self.context.all_reduce) for one in logits
        )
        if not heads:
            return main
        auxiliary = self.auxiliary_weight() * torch.stack([head["loss"] for head in heads]).sum()
        return {**main, "loss": main["loss"] + auxiliary, "auxiliary": auxiliary.detach()}

    def auxiliary_weight(self) -> float:
        """Weight of each auxiliary head's loss; 0 where the network has none."""
        weight = self.config.loss.auxiliary_weight
        return AUXILIARY_WEIGHTS.get(self.config.network.architecture, 0.0) if weight is None else weight

    def score(self) -> Mapping[str, float]:
        """mIoU on the select split, of the weights that a checkpoint would keep."""
        return {"selection": self.select_miou(self.tally_select())}

    def tally_select(self) -> Tally:
        """One pass over the select split."""
        if self.config.batch_norm in OWN_STATISTICS:
            distributed.take_buffers_of_rank_0(self.segmenter, self.context)
        self.segmenter.eval()
        batches = evaluation_batches(
            self._select, batch_size=self.config.score_batch_size, workers=0, context=self.context
        )
        with self.autocast():
            return tally_split(self.segmenter, batches, device=self.context.device, all_reduce=self.context.all_reduce)

    def select_miou(self, tally: Tally) -> float:
        """mIoU of a pass over the select split."""
        return scores(tally.confusion.cpu().numpy(), class_ids(self._select.class_set)).miou or 0.0

    def weights(self) -> dict[str, Tensor]:
        """The segmenter, normalization included."""
        return self.segmenter.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Network and optimizer."""
        return {"segmenter": self.segmenter.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Network and optimizer, with a readable error when the checkpoint is another network's."""
        try:
            self.segmenter.load_state_dict(state["segmenter"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(f"the checkpoint does not fit this network: {str(error).splitlines()[0]}") from error

    def training_mode(self) -> None:
        """Batch norm and dropout as in training, frozen statistics left alone."""
        self.forward.train()
        if self.config.batch_norm == "frozen":
            freeze_batch_norm(self.segmenter)

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass."""
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.context.device.type, dtype=torch.bfloat16, enabled=enabled)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run: absent data, an unknown encoder, a size that the network cannot take."""
    check_networks(config, inputs)
    check_labeled((*config.train, config.select, *config.select_also), inputs)


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a start from another network before that one is trained: ``sources`` are the inputs' configurations."""
    initial = sources.get("initial")
    started = getattr(initial, "network", None)
    if started is not None:
        check_same_network(config.network, started, getattr(initial, "relighting", None))


def check_networks(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse an unknown encoder, a size that the network cannot take, weights of another network to start from."""
    for height, width in (config.select_size(), training_size(config)):
        check_network(config.network, height=height, width=width)
    if config.batch_size == 1 and config.batch_norm in OWN_STATISTICS:
        check_single_image(config.network, height=height, width=width)
    if "initial" in inputs:
        check_initial(config.network, inputs["initial"])


def check_labeled(splits: Sequence[DataSplit], inputs: Mapping[str, Path]) -> None:
    """Refuse splits without labels or with ignored pixels alone, and those that are known to be absent."""
    for split in splits:
        if split.split in DATASETS[split.dataset].unlabeled:
            raise UserError(f"{split} has no labels; supervised training and selection need them")
        if split.split in DATASETS[split.dataset].without_photographs:
            raise UserError(f"{split} is label maps alone; train on images that a translator makes of them")
        if split.dataset in inputs:  # Else a stage that has not run yet makes it.
            check_has_classes(inputs, split)


def training_size(config: Config) -> tuple[int, int]:
    """Height and width after augmentation."""
    return config.augmentation.crop_height or config.height, config.augmentation.crop_width or config.width


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train and leave ``final.pt``, ``best.pt`` (``{"weights", "step"}``) and ``curves.json`` in ``output``.

    Where there is an input ``initial``, a training stage of the same network, training goes on from its last weights.
    """
    check_workers(config, context)
    labeled = train_images(config, inputs)
    samples = augmented(labeled, config, seed)

    def batches(steps: range) -> Iterator[Batch]:
        return training_batches(
            samples, steps=steps, batch_size=config.batch_size, workers=config.loader_workers, context=context
        )

    return train_segmenter(
        config, batches, inputs, output, seed, context, class_set=learned_classes(labeled), seen=config.train
    )


def train_segmenter(
    config: Config,
    batches: Callable[[range], Iterator[Batch]],
    inputs: Mapping[str, Path],
    output: Path,
    seed: int,
    context: TrainContext,
    *,
    class_set: str,
    seen: Sequence[DataSplit],
) -> dict[str, Any]:
    """The same with any batches of images, of the splits ``seen``, and labels of the classes in ``class_set``."""
    torch.manual_seed(derive_seed(seed, "initialization"))
    learner = SupervisedLearner(
        config,
        select=select_images(config, inputs),
        context=context,
        pretrained=context.resume() is None,
        initial=inputs.get("initial"),
    )
    result = train(
        learner, batches, config.loop, batch_size=config.batch_size, seed=seed, output=output, context=context
    )
    if context.rank == 0:
        trained = Trained(config.network, *config.select_size(), class_set=class_set)
        write_description(output, trained, seen=seen, initial=inputs.get("initial"))
    return result


def train_images(config: Config, inputs: Mapping[str, Path]) -> list[SplitImages]:
    """The labeled splits; those that an earlier stage made could not be checked before."""
    for split in config.train:
        check_has_classes(inputs, split)
    return [_open(config, inputs, split, (config.height, config.width)) for split in config.train]


def select_images(config: Config, inputs: Mapping[str, Path]) -> SelectImages:
    """What checkpoints are chosen by."""
    size = config.select_size()
    splits = [_open(config, inputs, split, size) for split in (config.select, *config.select_also)]
    return JoinedImages(splits) if len(splits) > 1 else splits[0]


def _open(config: Config, inputs: Mapping[str, Path], split: DataSplit, size: tuple[int, int]) -> SplitImages:
    height, width = size
    return SplitImages(inputs, split, height=height, width=width, cache_bytes=config.cache_bytes)


def augmented(splits: Sequence[SplitImages], config: Config, seed: int) -> AugmentedSamples:
    """Samples of ``splits`` joined, as the training draws and changes them."""
    return AugmentedSamples(
        splits, config.augmentation, batch_size=config.batch_size, seed=seed, rare_classes=config.rare_classes
    )


def learned_classes(labeled: Sequence[SplitImages]) -> str:
    """Name of the classes that any of the splits can hold."""
    return class_set_of(train_id for split in labeled for train_id in class_ids(split.class_set))


def check_workers(config: Config, context: TrainContext) -> None:
    """Refuse workers that the batch, the statistics or the device do not suit."""
    if config.batch_size % context.world_size:
        raise UserError(f"batch_size {config.batch_size} does not divide among {context.world_size} workers evenly")
    if config.batch_size == context.world_size and config.batch_norm in OWN_STATISTICS:
        height, width = training_size(config)
        check_single_image(config.network, height=height, width=width)
    if config.batch_norm == "sync" and context.device.type != "cuda":
        raise UserError("batch_norm sync needs a GPU per worker; use local or frozen on a CPU")
