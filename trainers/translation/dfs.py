"""DFS: take the haze out of an image so that a segmenter, which stays as it is, understands it.

min over the generator, max over the discriminator of: adversarial + λ1 |dehazed - clear| + λ2 (features of dehazed -
features of clear)² + λ3 (loss of the frozen segmenter on the dehazed image).

Shape legend: n images of this rank, h height, w width.

Source: de Blois et al., Learning of Image Dehazing Models for Segmentation Tasks, and its release, train_DFS.py
    (weights 1 : 10 : 10 : 10, half the discriminator's loss, discriminator first, Adam); Isola et al., pix2pix
    (networks, logarithmic loss, condition).
Differs: the segmentation loss is that of a segmenter with classes, by default cross-entropy; ``l2_color`` is the one
    nearest to the release, see ``losses.color_distance``. The release's tuning of the segmenter after epoch 50 is
    left out: it zeroes the gradients between backward and step, so nothing is tuned. Its second perceptual term, on
    segmentations, is never added and left out too. Its networks, its VGG16 and its adversarial loss are not published:
    the generator is pix2pix's U-Net and the loss its logarithmic one (the code that the release's calls fit has
    residual blocks and least squares, ``gan_loss: lsgan``), the features are taken to be relu2_2 (the second that its
    VGG16 returns), of images normalized as ImageNet's. Checkpoints are chosen by mIoU or PSNR, where it takes the least
    mean squared difference of colors.
Logs: ``loss`` (of the generator, weighed), ``adversarial``, ``pixel`` (mean absolute difference in [0, 2]),
    ``perceptual``, ``segmentation``, each where its weight is not 0; ``discriminator`` (halved; ln 2 at a draw with the
    logarithmic loss), ``discriminator_accuracy`` (share of patches judged right); ``psnr`` in dB on the selection split
    and, with a segmenter, ``select_miou``; ``selection`` is the one that ``select_by`` names.
"""

import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.components.image_quality import PEAK, mean_squared_error
from trainers.context import TrainContext
from trainers.data.label_spaces import class_ids
from trainers.data.loader import Batch
from trainers.data.matched import AugmentedMatches, MatchedBatch, MatchedImages, matched_batches
from trainers.data.sampling import derive_seed
from trainers.errors import MethodWarning, UserError
from trainers.evaluation import Tally, scores
from trainers.loop import train
from trainers.networks.features import build_features
from trainers.networks.segmentation import freeze_batch_norm
from trainers.segmentation.trained import load_segmenter, trained_on
from trainers.translation.dfs_checks import check as check
from trainers.translation.dfs_checks import check_segmenter_apart as check_segmenter_apart
from trainers.translation.dfs_checks import check_sources as check_sources
from trainers.translation.dfs_config import Config
from trainers.translation.dfs_networks import PairDiscriminator, UNet
from trainers.translation.discriminators import accuracy
from trainers.translation.losses import SEGMENTATION_LOSSES, absolute, adversarial, squared
from trainers.translation.training import (
    Panels,
    Watch,
    build_optimizer,
    check_workers,
    descend,
    load_parts,
    set_learning_rate,
    signed,
)
from trainers.translation.translators import write_translator

REMEDY = "raise the weights of the other losses"


class DFSLearner:
    """A generator and a discriminator, an optimizer each, and a segmenter that is never changed."""

    def __init__(
        self,
        config: Config,
        *,
        select: MatchedImages,
        context: TrainContext,
        segmenter: nn.Module | None = None,
        features: nn.Module | None = None,
    ) -> None:
        """``segmenter``: trained elsewhere; ``features``: the frozen network of the perceptual loss."""
        self.config, self.context, self._select = config, context, select
        prepare = partial(distributed.prepare, policy=config.batch_norm, context=context)
        self.generator = prepare(UNet(config.generator))
        self._forward = distributed.parallel(self.generator, context)
        self.optimizer = build_optimizer(self.generator.parameters(), config.optimizer)
        self.judge: nn.Module | None = None
        if config.weights.gan > 0:
            self.judge = prepare(PairDiscriminator(config.discriminator))
            step = distributed.WholeStep(self._judge, judge=self.judge)
            self._forward_judge = distributed.parallel(step, context)
            self.judge_optimizer = build_optimizer(self.judge.parameters(), config.optimizer)
        self._segmenter = None if segmenter is None else segmenter.to(context.device).eval().requires_grad_(False)
        self._features = None if features is None else features.to(context.device)
        self._share = partial(distributed.mean_share, context=context)
        self.panels, self._watch = Panels(config.pictures, config.loop), Watch(context, REMEDY)
        self._step = 0

    def train_step(self, batch: MatchedBatch, step: int) -> Mapping[str, Tensor]:
        """One pass of the generator; the discriminator learns from it first, then the generator."""
        config, self._step = self.config, step
        self._training_mode()
        optimizers = (self.optimizer,) if self.judge is None else (self.optimizer, self.judge_optimizer)
        set_learning_rate(optimizers, config.optimizer, step, steps=config.loop.steps)
        hazy, clear = signed(batch.images), signed(batch.partners)
        with self._autocast():
            dehazed = self._forward(hazy).float()
        judged: dict[str, Tensor] = {}
        if self.judge is not None:
            with self._autocast():
                judged = dict(self._forward_judge(hazy, clear, dehazed.detach()))
            descend(self.judge_optimizer, judged["discriminator"], self.context)
        losses = self._losses(hazy, clear, dehazed, batch.labels)
        weights = {"adversarial": config.weights.gan, **config.weights.model_dump()}
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        descend(self.optimizer, loss, self.context)
        right = judged.get("discriminator_accuracy", hazy.new_tensor(0.5))
        self._watch.see(right, {"dehazed images": (clear, dehazed.detach(), clear)})
        self.panels.show(step, {"hazy": hazy[0], "dehazed": dehazed[0], "clear": clear[0]})
        if judged:
            judged["discriminator_accuracy"] = right / self.context.world_size
        return {name: value.detach() for name, value in {**judged, **losses, "loss": loss}.items()}

    def _judge(self, hazy: Tensor, clear: Tensor, dehazed: Tensor) -> dict[str, Tensor]:
        """Half the discriminator's loss, and how often it was right on this rank."""
        assert self.judge is not None
        gan_loss, losses, right = self.config.gan_loss, [], []
        for shown, is_real in ((dehazed, False), (clear, True)):
            maps = [self.judge(hazy, shown)]
            losses.append(adversarial(maps, is_real=is_real, gan_loss=gan_loss, share=self._share))
            right.append(accuracy(maps, is_real=is_real, gan_loss=gan_loss))
        return {"discriminator": 0.5 * torch.stack(losses).sum(), "discriminator_accuracy": torch.stack(right).mean()}

    def _losses(self, hazy: Tensor, clear: Tensor, dehazed: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Those of the generator whose weight is not 0, in float32."""
        config, losses = self.config, {}
        if self.judge is not None:
            with self._autocast(), distributed.without_gradients(self.judge):
                maps = [self.judge(hazy, dehazed)]
            losses["adversarial"] = adversarial(maps, is_real=True, gan_loss=config.gan_loss, share=self._share)
        if config.weights.pixel > 0:
            losses["pixel"] = absolute(dehazed, clear, self._share)
        if config.weights.perceptual > 0:
            assert self._features is not None
            first, second = (self._features((one + 1) * 127.5) for one in (dehazed, clear))
            losses["perceptual"] = squared(first, second, self._share)
        if config.weights.segmentation > 0:
            losses["segmentation"] = SEGMENTATION_LOSSES[config.segmentation_loss](
                self._segmented(dehazed), labels, self.context
            )
        return losses

    def _segmented(self, images: Tensor) -> Tensor:
        """Logits of images in [-1, 1], in float32; gradients pass to the images."""
        assert self._segmenter is not None
        with self._autocast():
            logits: Tensor = self._segmenter((images + 1) * 127.5)
        return logits.float()

    @torch.no_grad()
    def score(self) -> Mapping[str, float]:
        """PSNR and the segmenter's mIoU on dehazed images of the selection split; warns where something goes wrong."""
        self._watch.tell(self._step)
        self.panels.keep()
        if self.config.batch_norm == "local":
            for network in self._networks().values():
                distributed.take_buffers_of_rank_0(network, self.context)
        self.generator.eval()
        tally, decibels = Tally.empty(self.context.device), torch.zeros((), device=self.context.device).double()
        mine = range(self.context.rank, len(self._select), self.context.world_size)
        size = self.config.score_batch_size
        addresses = [list(mine[start : start + size]) for start in range(0, len(mine), size)]
        for batch in matched_batches(self._select, addresses, workers=0, context=self.context):
            with self._autocast():
                dehazed = self.generator(signed(batch.images)).float()
            error = mean_squared_error((dehazed + 1) * 127.5, batch.partners)
            decibels += 10 * torch.log10(PEAK**2 / error.clamp_min(1e-9)).sum()  # No selection is infinite.
            if self._segmenter is not None:
                tally.add(self._segmented(dehazed), batch.labels)
        found = {"psnr": float(self.context.all_reduce(decibels)) / len(self._select)}
        if self._segmenter is not None:
            confusion = tally.reduced(self.context.all_reduce).confusion.cpu().numpy()
            found["select_miou"] = scores(confusion, class_ids(self._select.class_set)).miou or 0.0
        return {**found, "selection": found["psnr" if self.config.select_by == "psnr" else "select_miou"]}

    def weights(self) -> dict[str, Tensor]:
        """The generator."""
        return self.generator.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, pictures."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "panels": self.panels.kept, "told": sorted(self._watch.told)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse, with a readable error when the checkpoint is another network's."""
        load_parts(self._parts(), state)
        self.panels.kept, self._watch.told = dict(state["panels"]), set(state["told"])

    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, **({} if self.judge is None else {"judge": self.judge})}

    def _parts(self) -> dict[str, Any]:
        optimizers = {"optimizer": self.optimizer}
        if self.judge is not None:
            optimizers["judge_optimizer"] = self.judge_optimizer
        return {**self._networks(), **optimizers}

    def _training_mode(self) -> None:
        for network in self._networks().values():
            network.train()
            if self.config.batch_norm == "frozen":
                freeze_batch_norm(network)

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.context.device.type, dtype=torch.bfloat16, enabled=enabled)


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train and leave ``final.pt``, ``best.pt``, ``curves.json``, ``translator.json`` and pictures in ``output``."""
    check_workers(config.batch_size, context)
    if config.batch_norm == "sync" and context.device.type != "cuda":
        raise UserError("batch_norm sync needs a GPU per worker; use local or frozen on a CPU")
    images = partial(MatchedImages, inputs, height=config.height, width=config.width, cache_bytes=config.cache_bytes)
    matched, select = images(config.sources(), config.target), images((config.select,), config.select_target)
    segmenter = features = None
    if config.needs_segmenter():
        segmenter, _, _ = load_segmenter(inputs["segmenter"], config.segmenter_checkpoint)
    if context.rank == 0:
        _warn(len(matched), config, inputs)
    if config.features is not None and config.weights.perceptual > 0:
        features = build_features(config.features, inputs)
    samples = AugmentedMatches(matched, config.augmentation, batch_size=config.batch_size, seed=seed)
    torch.manual_seed(derive_seed(seed, "initialization"))
    learner = DFSLearner(config, select=select, context=context, segmenter=segmenter, features=features)

    def batches(steps: range) -> Iterator[Batch]:
        slots = range(context.rank, config.batch_size, context.world_size)
        addresses = [[(step, slot) for slot in slots] for step in steps]
        return matched_batches(samples, addresses, workers=config.loader_workers, context=context)

    result = train(
        learner,  # type: ignore[arg-type]  # Its batches are of pairs.
        batches,
        config.loop,
        batch_size=config.batch_size,
        seed=seed,
        output=output,
        context=context,
    )
    if context.rank == 0:
        write_translator(output, "dfs", generator=config.generator, source=config.source, target=config.target)
        weights = ", ".join(f"{name} {weight:g}" for name, weight in config.weights.model_dump().items())
        learner.panels.write(output, weights)
    found = {"pairs": len(matched)}
    if features is None:
        return {**result, **found}
    return {**result, **found, "features": features.name, "features_weights_hash": features.weights_hash}


def _warn(pairs: int, config: Config, inputs: Mapping[str, Path]) -> None:
    if pairs == 1:
        text = f"{config.source} is a single pair, which the generator will know by heart; give more"
        warnings.warn(text, MethodWarning, stacklevel=3)
    if config.needs_segmenter() and trained_on(inputs["segmenter"]) is None:
        text = "the segmenter does not say what it was trained on: see to it that it knows none of the hazy images"
        warnings.warn(text, MethodWarning, stacklevel=3)
