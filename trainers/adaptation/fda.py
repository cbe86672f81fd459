"""Fourier domain adaptation: source images take the low-frequency amplitudes of random target images.

L = L_supervised(x_s→t, y_s) + lambda L_entropy(x_t) and, where an input ``pseudo_labels`` gives labels of an earlier
stage, + L_supervised(x_t, y_t). Multi-band transfer is a graph of these stages: three bands, pseudo-labels of their
averaged prediction, three bands again from the first weights.

Source: Yang and Soatto, FDA; YanchaoYang/FDA, train.py and SStrain.py.
Differs: see ``components.fourier`` (window) and ``components.entropy`` (size of the logits). Images of both domains are
    augmented alike, there not at all. Scales and shifts of batch norms are trained, there frozen (``batch_norm:
    frozen_affine``).
Logs: ``loss``, ``cross_entropy``, ``focal`` (on the transferred images, nats per valid pixel), ``entropy`` (robust, in
    [0, 1]), ``pseudo_label`` (loss on labels of an earlier stage); ``selection``, ``infomax``, ``select_miou``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainers.adaptation.fda_config import Config
from trainers.adaptation.training import AdaptationLearner, check_adaptation, run_adaptation
from trainers.adaptation.training import check_sources as check_sources
from trainers.components.entropy import robust_entropy
from trainers.components.fourier import transfer_style, window_radius
from trainers.context import TrainContext
from trainers.data.domains import DomainBatch
from trainers.networks.optimizers import set_learning_rate
from trainers.segmentation.supervised import training_size


class FDALearner(AdaptationLearner):
    """One network on transferred source images and, for its entropy, on target images."""

    config: Config
    has_pseudo_labels = False

    def train_step(self, batch: DomainBatch, step: int) -> Mapping[str, Tensor]:  # type: ignore[override]
        """Transfer on raw pixels, two forward passes, one backward."""
        config = self.config
        self.training_mode()
        set_learning_rate(self.optimizer, config.optimizer, step, steps=config.loop.steps)
        transferred = transfer_style(batch.images.float(), batch.target_images.float(), config.beta)
        losses = self.source_losses(transferred, batch.labels)
        has_entropy = config.entropy_weight > 0 and step >= config.entropy_from_step
        if has_entropy or self.has_pseudo_labels:
            losses = self._with_target(losses, batch, has_entropy=has_entropy)
        self.descend(losses["loss"])
        self.show(
            step,
            {
                "source": batch.images[0],
                "target": batch.target_images[0],
                "transferred": transferred[0],
                "truth": batch.labels[0],
            },
        )
        return losses

    def _with_target(self, losses: dict[str, Tensor], batch: DomainBatch, *, has_entropy: bool) -> dict[str, Tensor]:
        """The losses with those of the target images."""
        config, loss = self.config, losses["loss"]
        with self.autocast():
            logits = self.forward(batch.target_images, auxiliary=True)
        found = {}
        if has_entropy:
            entropy = robust_entropy(logits[0].float(), config.eta, all_reduce=self.context.all_reduce)
            loss, found["entropy"] = loss + config.entropy_weight * entropy, entropy.detach()
        if self.has_pseudo_labels:
            supervised = self.losses(logits, batch.target_labels)["loss"]
            loss, found["pseudo_label"] = loss + supervised, supervised.detach()
        return {**losses, **found, "loss": loss}


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run, and a window that is empty at this size."""
    check_adaptation(config, inputs)
    height, width = training_size(config)
    window_radius(config.beta, height=height, width=width)


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train; see ``run_adaptation``. ``window_radius`` is b, which tells more than beta does."""

    def make_learner(config: Config, **options: Any) -> FDALearner:
        learner = FDALearner(config, **options)
        learner.has_pseudo_labels = "pseudo_labels" in inputs
        return learner

    height, width = training_size(config)
    radius = window_radius(config.beta, height=height, width=width)
    caption = f"beta {config.beta:g}: frequencies up to {radius} of {height}×{width} are the target's"
    result = run_adaptation(make_learner, config, inputs, output, seed, context, caption=caption)
    return {**result, "window_radius": radius}
