"""Cross-domain mixed sampling: a teacher labels target images, source pixels are pasted on them, the student learns
from both; with the parts that the leading recipe added, each of which any arm can switch on.

L = L_supervised(x_s, y_s) + lambda_u mean(w CE(f(x_m), y_m)) + lambda_m mean(w_t CE(f(hidden x_t), y_t)), x_m the mix.

Shape legend: n images of this rank, c classes, h height, w width.

Source: Tranheden et al., DACS; vikolss/DACS, trainUDA.py. Rare-class sampling and feature distance: Hoyer et al.,
    DAFormer. Masked image consistency: Hoyer et al., MIC.
Differs: see ``components.mixing`` (classes without the ignored one), ``components.perturbation`` (order of the jitter),
    ``components.feature_distance``. The teacher's dropout is off (DAFormer; DACS's network has none). Pseudo-labels at
    the borders of the image count like all others. MIC disturbs colors of the hidden image; here they are left alone
    unless it is the mixed one. The fixed encoder of the feature distance keeps the running statistics it had, and the
    student has its batch's: with batch norm they differ from the first step on (DAFormer's encoders have none). Where
    the teacher is the student, its look at the clean target counts in the student's running statistics. DACS's release
    keeps scales and shifts of batch norms as the pretrained weights have them (``batch_norm: frozen_affine``; trained
    here by default), DAFormer's spares norms from the decay (``optimizer.decay_norms_and_biases: false``).
Logs: ``loss``; ``cross_entropy``, ``focal`` (source, nats per valid pixel); ``unlabeled`` (weighed loss on mixed
    images), ``masked``, ``feature_distance`` where they are on; ``confident`` (q, share of target pixels at or above
    the threshold); ``selection``, ``infomax``, ``select_miou``.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.adaptation.dacs_config import Config
from trainers.adaptation.training import AdaptationLearner, check_adaptation, run_adaptation
from trainers.adaptation.training import check_sources as check_sources
from trainers.components.ema import build_teacher, decay_at, set_teacher_mode, update_teacher
from trainers.components.mixing import MASKS, NUM_DRAWS, paste, paste_labels
from trainers.components.perturbation import hide_patches, jitter_and_blur
from trainers.components.pseudo_labels import WEIGHTS, predict, weighted_cross_entropy
from trainers.context import TrainContext
from trainers.data.domains import DomainBatch
from trainers.errors import MethodWarning, UserError, nearest
from trainers.networks.optimizers import set_learning_rate

STUCK = 1e-3
"""A share of sure pixels nearer than this to 0 or 1, over all steps between two scores, helps nobody."""


class DACSLearner(AdaptationLearner):
    """Student and teacher."""

    config: Config

    def __init__(self, config: Config, **options: Any) -> None:
        super().__init__(config, **options)
        is_student = config.teacher.kind == "student"
        self.teacher = self.segmenter if is_student else build_teacher(self.segmenter)
        self._confident = torch.zeros((), device=self.context.device)
        self._steps_since_score, self._has_warned = 0, False

    def train_step(self, batch: DomainBatch, step: int) -> Mapping[str, Tensor]:  # type: ignore[override]
        """The teacher labels the clean target; the student sees the source, the mix and, with MIC, hidden patches."""
        config = self.config
        set_learning_rate(self.optimizer, config.optimizer, step, steps=config.loop.steps)
        labels, confidence = self.pseudo_label(batch.target_images)
        weight = WEIGHTS[config.weight](confidence, config.threshold, self.context.all_reduce)
        mixed, mixed_labels, mixed_weight = self.mix(batch, labels, weight, step)
        self.training_mode()
        losses = self.source_losses(batch.images, batch.labels)
        unlabeled = self._consistency(mixed, mixed_labels, mixed_weight)
        found = {"unlabeled": unlabeled.detach(), "confident": self._share_of_sure(confidence)}
        loss = losses["loss"] + config.unlabeled_weight * unlabeled
        if config.masked.weight > 0:
            masked = self._consistency(self._hide(batch.target_images, step), labels, weight)
            loss, found["masked"] = loss + config.masked.weight * masked, masked.detach()
        self.descend(loss)
        if config.teacher.kind == "ema":
            update_teacher(self.teacher, self.segmenter, decay_at(step, config.teacher.rate))
        tiles = {"source": batch.images, "target": batch.target_images, "mixed": mixed, "mixed label": mixed_labels,
                 "pseudo-label": labels, "confidence": confidence}  # fmt: skip
        self.show(step, {kind: tile[0] for kind, tile in tiles.items()})
        return {**losses, **found, "loss": loss}

    @torch.no_grad()
    def pseudo_label(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's labels of clean images and how sure it is of them."""
        frozen = self.config.batch_norm == "frozen"
        set_teacher_mode(self.teacher, self.segmenter, "student" if frozen else self.config.teacher.batch_norm)
        with self.autocast():
            logits = self.teacher(images)
        return predict(logits.float())

    def mix(self, batch: DomainBatch, labels: Tensor, weight: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed and disturbed images, their labels, and the weight of each pixel: 1 where it was pasted."""
        config, generators = self.config.mix, self.generators(step, "mix")
        draws = torch.tensor(np.stack([generator.random(NUM_DRAWS) for generator in generators]), device=labels.device)
        mask = MASKS[config.mask](batch.labels, config.share, draws)
        mixed = paste(mask, batch.images.float(), batch.target_images.float())
        disturbed = jitter_and_blur(
            mixed,
            generators,
            strength=config.jitter_strength,
            jitter_probability=config.jitter_probability,
            blur_probability=config.blur_probability,
            blur_sigma_max=config.blur_sigma_max,
        )
        return disturbed, paste_labels(mask, batch.labels, labels), weight.masked_fill(mask, 1.0)

    def _consistency(self, images: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """The weighed loss of the student, auxiliary heads included."""
        with self.autocast():
            logits = self.forward(images, auxiliary=True)
        main, *heads = (
            weighted_cross_entropy(one.float(), labels, weight, all_reduce=self.context.all_reduce) for one in logits
        )
        return main + self.auxiliary_weight() * torch.stack(heads).sum() if heads else main

    def _hide(self, images: Tensor, step: int) -> Tensor:
        config = self.config.masked
        return hide_patches(
            images.float(),
            self.generators(step, "hide"),
            ratio=config.ratio,
            patch=config.patch,
            fill=self.segmenter.mean,
        )

    def _share_of_sure(self, confidence: Tensor) -> Tensor:
        """This rank's share of q."""
        sure = (confidence >= self.config.threshold).sum().to(confidence.dtype)
        share = sure / (confidence.numel() * self.context.world_size)
        self._confident += share
        self._steps_since_score += 1
        return share

    def score(self) -> Mapping[str, float]:
        """As of all adaptation methods; warns once where the threshold separates nothing."""
        self._warn_if_stuck()
        return super().score()

    def _warn_if_stuck(self) -> None:
        share = float(self.context.all_reduce(self._confident)) / max(1, self._steps_since_score)
        steps, self._steps_since_score = self._steps_since_score, 0
        self._confident.zero_()
        is_stuck = not STUCK < share < 1 - STUCK
        if not is_stuck or not steps or self._has_warned or self.config.weight == "none" or self.context.rank:
            return
        self._has_warned = True
        remedy = (
            "so the target's pixels teach nothing: lower threshold, or train the source stage longer"
            if share < 0.5
            else "so the threshold keeps nothing out: raise it, and see in the pictures that classes did not collapse"
        )
        warnings.warn(
            f"{100 * share:.1f} % of the target's pixels reach threshold {self.config.threshold:g} over {steps} steps, "
            f"{remedy}",
            MethodWarning,
            stacklevel=2,
        )

    def state_dict(self) -> dict[str, Any]:
        """Student, optimizer, pictures and teacher."""
        teacher = self.teacher.state_dict() if self.config.teacher.kind == "ema" else {}
        return {**super().state_dict(), "teacher": teacher}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse, with a readable error when the checkpoint is another network's."""
        super().load_state_dict(state)
        if self.config.teacher.kind == "ema":
            try:
                self.teacher.load_state_dict(state["teacher"])
            except (KeyError, RuntimeError) as error:
                first = str(error).splitlines()[0]
                raise UserError(f"the checkpoint's teacher does not fit this network: {first}") from error


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run."""
    check_adaptation(config, inputs)
    if config.mix.mask not in MASKS:
        raise UserError(f"unknown mask {config.mix.mask!r}: {nearest(config.mix.mask, MASKS)}")


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train; see ``run_adaptation``."""
    caption = f"teacher: {config.teacher.kind}; {config.mix.mask} mask; threshold {config.threshold:g}"
    return run_adaptation(DACSLearner, config, inputs, output, seed, context, caption=caption)
