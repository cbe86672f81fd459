"""Bi-Mix: DANNet, with images mixed in two directions, each for the sake of one of its two networks.

Trans2Seg, for the segmenter: classes of a source image on a night image, with the labels of both.
Seg2Trans, for the relighting: what moves in the day image, found by the segmenter, on the night image of its pair;
what relighting adds to this mix should be what it adds to the day image (the consistency regularization).

L = L_DANNet + lambda_s2n mean(w CE(f(x_s on x_n), y)) + lambda_d2n mean|r(x_d on x_n) - r(x_d)|

Shape legend: n images of this rank, c classes, h height, w width.

Source: Yang et al., Bi-Mix; ygjwd12345/BiMix, train.py. The paper's relighting is DANNet's (``resnet``), that of the
    release is ``curves``.
Differs: see ``dannet`` and ``components.mixing`` (the ignored label is no class of a mix; any number of images). How
    sure the night's prediction is, is read from the prediction that is there, not from a second pass over the image.
    What the release does otherwise than the method says is switched on by ``as_released``; it is one setting because
    each of these faults hides another: the labels of the mix lose what moves and keep shifted borders because they are
    the tensor that the static loss spoils, and that loss sees the mix.
Logs: as ``dannet``; ``source_to_night``, ``day_to_night`` (L1, normalized units), ``light_mixed``: before their
    weights; ``confident`` (q, share of sure night pixels), ``pasted`` (share of the night image that the day covers).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.adaptation.bimix_config import Config
from trainers.adaptation.dannet import DANNetLearner, View
from trainers.adaptation.dannet import check_sources as check_sources
from trainers.adaptation.pair_training import check as check_pair_training
from trainers.adaptation.pair_training import run_with_pairs
from trainers.components.mixing import NUM_DRAWS, class_mask, paste, paste_labels
from trainers.components.pair_labels import NUM_STATIC, moving_mask, released_shifts, static_labels, static_loss
from trainers.components.pseudo_labels import batch_weight, predict, weighted_cross_entropy
from trainers.components.relighting_losses import mean_share
from trainers.context import TrainContext
from trainers.data.pairs import PairBatch
from trainers.errors import UserError
from trainers.networks.relighting import RelitSegmenter

FIRST_RELEASED = NUM_STATIC + 1
"""The release pastes train ids above 11, and a person is 11."""


class BiMixLearner(DANNetLearner):
    """The networks of DANNet; no teacher: the segmenter labels for itself."""

    config: Config

    def step_losses(self, batch: PairBatch, step: int) -> Mapping[str, Tensor]:
        """DANNet's losses and those of the two mixes."""
        config, views = self.config, self.views(batch)
        parts, tiles = self.common_losses(batch, views), self.tiles(batch, views)
        labels = self.fused(views)
        standing = static_labels(labels)
        if config.as_released:
            labels = standing = released_shifts(standing)
        seen = views["night"].logits[0]
        if config.source_to_night.weight > 0:
            mixed, found, more = self.source_to_night(batch, labels, seen, step)
            parts, tiles = {**parts, **found}, {**tiles, **more}
            if config.as_released:
                seen = mixed
        parts["static"] = self.static(seen, standing)
        if config.day_to_night.is_on():
            found, more = self.day_to_night(batch, views)
            parts, tiles = {**parts, **found}, {**tiles, **more}
        return {**self.total(parts), **tiles, "tile static label": standing[0]}

    def source_to_night(
        self, batch: PairBatch, labels: Tensor, night: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits of the mix, its loss, and pictures; ``labels`` and logits ``night`` are of the night images."""
        config = self.config.source_to_night
        draws = np.stack([generator.random(NUM_DRAWS) for generator in self.generators(step, "mix")])
        mask = class_mask(batch.labels, config.share, torch.tensor(draws, device=labels.device))
        mixed = paste(mask, batch.images.float(), batch.night_images.float())
        mixed_labels = paste_labels(mask, batch.labels, labels)
        _, confidence = predict(night.detach())
        sure = batch_weight(confidence, config.threshold, self.context.all_reduce)
        view = self.look_at_mix(mixed)
        loss = weighted_cross_entropy(
            view.logits[0], mixed_labels, sure.masked_fill(mask, 1.0), all_reduce=self.context.all_reduce
        )
        confident = mean_share((confidence >= config.threshold).float(), self.context.all_reduce)
        tiles = {"tile source on night": mixed[0], "tile mixed label": mixed_labels[0]}
        return view.logits[0], {"source_to_night": loss, "confident": confident}, tiles

    def look_at_mix(self, mixed: Tensor) -> View:
        """Relight and predict; the release predicts the mix as it is."""
        if self.config.as_released and isinstance(self.segmenter, RelitSegmenter):
            with self.autocast():
                logits = self.segmenter.segment(mixed)
            assert isinstance(logits, Tensor)
            return View(None, (logits.float(),))
        return self.look(mixed)

    def day_to_night(self, batch: PairBatch, views: Mapping[str, View]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The consistency of what is added, the light losses of the mix if they count, and pictures."""
        config, day, night = self.config.day_to_night, views["day"].relit, views["night"].relit
        assert isinstance(self.segmenter, RelitSegmenter)
        assert day is not None
        assert night is not None
        with torch.no_grad(), self.autocast():
            raw = self.segmenter.segment(batch.day_images)
        assert isinstance(raw, Tensor)
        first = FIRST_RELEASED if self.config.as_released else NUM_STATIC
        mask = moving_mask(raw.argmax(dim=1), first=first)
        mixed = paste(mask, batch.day_images.float(), batch.night_images.float())
        with self.autocast():
            relit = self.segmenter.relight(mixed)
        reduce = self.context.all_reduce
        parts = {
            "day_to_night": mean_share((relit.residual - day.residual).abs(), reduce),
            "pasted": mean_share(mask.float(), reduce),
        }
        if config.light_weight > 0:
            brightness = reduce(mean_share(night.normalized, reduce))
            parts["light_mixed"] = self.light(View(relit, ()), brightness)
        return parts, {"tile day on night": mixed[0]}

    def static(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As of DANNet; in the release a pixel's own label alone counts."""
        if not self.config.as_released:
            return super().static(logits, labels)
        return static_loss(
            logits,
            labels,
            self.class_weights,
            gamma=self.config.static.gamma,
            tolerance=False,
            all_reduce=self.context.all_reduce,
        )

    def loss_weights(self) -> dict[str, float]:
        """DANNet's, and those of the two directions."""
        config = self.config
        return {
            **super().loss_weights(),
            "source_to_night": config.source_to_night.weight,
            "day_to_night": config.day_to_night.consistency_weight,
            "light_mixed": config.day_to_night.light_weight,
        }


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what DANNet does, and a direction that has nothing to train."""
    check_pair_training(config, inputs)
    if config.relighting.kind == "none" and config.day_to_night.is_on():
        raise UserError(
            "day_to_night trains the relighting, and relighting.kind is none; set consistency_weight and light_weight "
            "of day_to_night to 0"
        )


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train; see ``run_adaptation``."""
    return run_with_pairs(BiMixLearner, config, inputs, output, seed, context)
