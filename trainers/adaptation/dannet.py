"""DANNet: one relighting network for day and night, a segmenter behind it, two discriminators that tell its
predictions of target images from those of the source, and labels of what does not move from the day image of a pair.

L = CE_w(x_s, y_s) + L_light(x_s) + .01 (L_light + L_adversarial)(x_d) + .01 (L_light + L_adversarial)(x_n)
    + L_static(x_n, labels of x_d and x_n); each discriminator, afterwards: (D(x_s)² + (D(x_t) - 1)²) / 2.

Shape legend: n images of this rank, c classes, h height, w width.

Source: Wu et al., DANNet; W-zx-Y/DANNet, train.py.
Differs: see ``components.pair_labels`` (tolerance). Auxiliary heads learn from the source, there they are unused. The
    discriminators see predictions at the crop's size, in the release enlarged to 960 pixels. One backward pass for all
    three images. With ``batch_norm`` frozen the relighting has no norm: its statistics stay 0 and 1.
Logs: ``loss``; ``cross_entropy`` (source, class-weighted, nats); ``auxiliary``; ``light`` (source), ``light_target``
    (day and night together), ``adversarial`` (the same), ``static``: before their weights; ``discriminator_day``,
    ``discriminator_night`` (.25 at chance); ``saturated`` (share of values at the end of what relighting can give);
    ``selection``, ``infomax``, ``select_miou``.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.adaptation.dannet_config import Config
from trainers.adaptation.pair_training import check as check
from trainers.adaptation.pair_training import run_with_pairs
from trainers.adaptation.training import AdaptationLearner
from trainers.components.class_weights import class_weighted_cross_entropy, class_weights
from trainers.components.pair_labels import fused_labels, static_labels, static_loss
from trainers.components.relighting_losses import exposure_distance, mean_share, ssim_distance, total_variation
from trainers.context import TrainContext
from trainers.data.pairs import PairBatch
from trainers.errors import UserError
from trainers.networks.optimizers import set_learning_rate
from trainers.networks.output_discriminator import OutputDiscriminator
from trainers.networks.relighting import Relit, RelitSegmenter, with_relighting
from trainers.networks.segmentation import Segmenter
from trainers.segmentation.supervised import check_sources as check_sources
from trainers.segmentation.trained import Trained

WON = 0.01
"""Mean loss of a discriminator between two scores below which it is told; chance is .25."""
ALL_SATURATED = 0.95
"""Mean share of saturated values between two scores above which it is told."""


@dataclass(frozen=True)
class View:
    """One image of each pair, or the source images, as the networks see them."""

    relit: Relit | None
    """``None`` where nothing relights."""
    logits: tuple[Tensor, ...]
    """float32 (n c h w); those of auxiliary heads behind the first."""


class DANNetLearner(AdaptationLearner):
    """Relighting and segmenter with one optimizer, two discriminators with one each."""

    config: Config

    def __init__(self, config: Config, *, frequencies: Sequence[float], **options: Any) -> None:
        super().__init__(config, **options)
        self._frequencies = tuple(float(one) for one in frequencies)
        weights = class_weights(self._frequencies, config.class_weights.strength)
        self.class_weights = weights.to(self.context.device)
        width = config.adversarial.width
        self.judges = {name: OutputDiscriminator(width).to(self.context.device) for name in ("day", "night")}
        self._called = {name: distributed.parallel(judge, self.context) for name, judge in self.judges.items()}
        self._judge_optimizers = {name: _adam(judge, config) for name, judge in self.judges.items()}
        self._probabilities: dict[str, Tensor] = {}
        self._watched = torch.zeros(3, device=self.context.device)
        self._steps_since_score, self._told = 0, set[str]()

    def first_network(self, *, pretrained: bool, initial: Path | None) -> Segmenter:
        """The segmenter behind its relighting."""
        segmenter = super().first_network(pretrained=pretrained, initial=initial)
        return with_relighting(segmenter, self.config.relighting)

    def whole_step(self) -> nn.Module:
        """All that the segmenter's optimizer moves, and every forward pass of a step."""
        return distributed.WholeStep(self.step_losses, segmenter=self.segmenter)

    def description(self) -> Trained:
        """With the relighting, and the frequencies that a test may weigh classes by."""
        config = self.config
        return Trained(config.network, *config.select_size(), config.relighting, self._frequencies)

    def train_step(self, batch: PairBatch, step: int) -> Mapping[str, Tensor]:  # type: ignore[override]
        """A step of relighting and segmenter through discriminators that stay as they are, then one of each."""
        config = self.config
        self.training_mode()
        for optimizer in (self.optimizer, *self._judge_optimizers.values()):
            set_learning_rate(optimizer, config.optimizer, step, steps=config.loop.steps)
        with distributed.without_gradients(self.judges["day"]), distributed.without_gradients(self.judges["night"]):
            found = self.forward(batch, step)
            self.descend(found["loss"])
        judged = {f"discriminator_{name}": self._judge(name) for name in self.judges}
        self._watch(found, judged)
        tiles = {kind.removeprefix("tile "): tile for kind, tile in found.items() if kind.startswith("tile ")}
        self.show(step, tiles)
        losses = {name: value.detach() for name, value in found.items() if not name.startswith("tile ")}
        return {**losses, **judged}

    def step_losses(self, batch: PairBatch, step: int) -> Mapping[str, Tensor]:
        """Everything that the segmenter's optimizer descends, as shares of this rank, and pictures as ``tile …``."""
        views = self.views(batch)
        parts = self.common_losses(batch, views)
        labels = static_labels(self.fused(views))
        parts["static"] = self.static(views["night"].logits[0], labels)
        return {**self.total(parts), **self.tiles(batch, views), "tile static label": labels[0]}

    def views(self, batch: PairBatch) -> dict[str, View]:
        """Day, night and source images, in the order in which the release looks at them."""
        images = {"day": batch.day_images, "night": batch.night_images, "source": batch.images}
        views = {name: self.look(one, auxiliary=name == "source") for name, one in images.items()}
        self._probabilities = {name: view.logits[0].detach().softmax(dim=1) for name, view in views.items()}
        return views

    def look(self, images: Tensor, *, auxiliary: bool = False) -> View:
        """Relight and predict."""
        with self.autocast():
            if not isinstance(self.segmenter, RelitSegmenter):
                return View(None, _float32(self.segmenter(images, auxiliary=auxiliary)))
            relit = self.segmenter.relight(images)
            return View(relit, _float32(self.segmenter.segment(relit.images, auxiliary=auxiliary)))

    def common_losses(self, batch: PairBatch, views: Mapping[str, View]) -> dict[str, Tensor]:
        """What Bi-Mix has too: cross-entropy, light and adversarial losses."""
        cross_entropy, *heads = (
            class_weighted_cross_entropy(one, batch.labels, self.class_weights, all_reduce=self.context.all_reduce)
            for one in views["source"].logits
        )
        parts = {"cross_entropy": cross_entropy}
        if heads:
            parts["auxiliary"] = torch.stack(heads).sum()
        night = views["night"].relit
        if night is not None:
            brightness = self.context.all_reduce(mean_share(night.normalized, self.context.all_reduce))
            parts["light"] = self.light(views["source"], brightness)
            parts["light_target"] = self.light(views["day"], brightness) + self.light(views["night"], brightness)
            shares = [view.relit.saturated for view in views.values() if view.relit is not None]
            parts["saturated"] = torch.stack(shares).mean() / self.context.world_size
        scores = [judge(views[name].logits[0].softmax(dim=1)) for name, judge in self.judges.items()]
        parts["adversarial"] = torch.stack([mean_share(one**2, self.context.all_reduce) for one in scores]).sum()
        return parts

    def light(self, view: View, brightness: Tensor) -> Tensor:
        """This rank's share of the losses that keep a relit image sound."""
        assert view.relit is not None
        config, (normalized, _, residual, _) = self.config.light, view.relit
        lit, all_reduce = normalized + residual, self.context.all_reduce
        exposure = exposure_distance(lit, brightness, config.patch)
        return (
            config.total_variation * total_variation(residual, all_reduce=all_reduce)
            + config.similarity * mean_share(ssim_distance(lit, normalized), all_reduce)
            + config.exposure * mean_share(exposure, all_reduce)
        )

    def fused(self, views: Mapping[str, View]) -> Tensor:
        """Labels of the night images, what stands from both images, what moves from the night alone."""
        config = self.config.static
        return fused_labels(
            views["day"].logits[0],
            views["night"].logits[0],
            self.class_weights,
            day_weight=config.day_weight,
            threshold=config.logit_threshold,
        )

    def static(self, logits: Tensor, labels: Tensor) -> Tensor:
        """This rank's share of the loss on what stands."""
        config = self.config.static
        return static_loss(
            logits,
            labels,
            self.class_weights,
            gamma=config.gamma,
            tolerance=config.tolerance,
            all_reduce=self.context.all_reduce,
        )

    def loss_weights(self) -> dict[str, float]:
        """Weight of each part of the loss; a part without one is logged alone."""
        config = self.config
        return {
            "cross_entropy": 1.0,
            "auxiliary": self.auxiliary_weight(),
            "light": config.light.source_weight,
            "light_target": config.light.target_weight,
            "adversarial": config.adversarial.weight,
            "static": config.static.weight,
        }

    def total(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts, detached, with their weighed sum ``loss``."""
        weighed = [weight * parts[name] for name, weight in self.loss_weights().items() if name in parts]
        return {**{name: part.detach() for name, part in parts.items()}, "loss": torch.stack(weighed).sum()}

    def tiles(self, batch: PairBatch, views: Mapping[str, View]) -> dict[str, Tensor]:
        """The first images of a batch, before and after relighting."""
        tiles = {"tile source": batch.images[0], "tile day": batch.day_images[0], "tile night": batch.night_images[0]}
        for name, view in views.items():
            if view.relit is not None:
                tiles[f"tile relit {name}"] = view.relit.images[0].detach()
        return tiles

    def _judge(self, name: str) -> Tensor:
        """One step of a discriminator; this rank's share of its loss before it."""
        judge, optimizer = self._called[name], self._judge_optimizers[name]
        source, target = judge(self._probabilities["source"]), judge(self._probabilities[name])
        reduce = self.context.all_reduce
        loss = (mean_share(source**2, reduce) + mean_share((target - 1) ** 2, reduce)) / 2
        optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, self.context)
        optimizer.step()
        return loss.detach()

    def _watch(self, found: Mapping[str, Tensor], judged: Mapping[str, Tensor]) -> None:
        """Add up what a score warns of; nothing waits for the device."""
        saturated = found.get("saturated", torch.zeros_like(found["loss"])).detach()
        self._watched += torch.stack([saturated, *judged.values()])
        self._steps_since_score += 1

    def score(self) -> Mapping[str, float]:
        """As of all adaptation methods; warns once of a relighting or a discriminator that learns nothing more."""
        means = (self.context.all_reduce(self._watched) / max(1, self._steps_since_score)).tolist()
        steps, self._steps_since_score = self._steps_since_score, 0
        self._watched.zero_()
        if steps and self.context.rank == 0:
            self._warn(*means)
        return super().score()

    def _warn(self, saturated: float, day: float, night: float) -> None:
        if saturated > ALL_SATURATED:
            self._tell(
                "saturated",
                f"{100 * saturated:.0f} % of what relighting ({self.config.relighting.kind}) gives lies at the end of "
                "its range, where it learns nothing more: lower optimizer.learning_rate, or raise light.similarity",
            )
        for name, loss in (("day", day), ("night", night)):
            if loss < WON:
                self._tell(
                    name,
                    f"the discriminator of {name} tells every prediction from the source's (loss {loss:.4f}, chance "
                    ".25), so the segmenter learns nothing from it: lower adversarial.learning_rate",
                )

    def _tell(self, what: str, message: str) -> None:
        """Once a run."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        """Segmenter with relighting, its optimizer, pictures; discriminators and theirs."""
        judges = {name: judge.state_dict() for name, judge in self.judges.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self._judge_optimizers.items()}
        return {**super().state_dict(), "judges": judges, "judge_optimizers": optimizers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse, with a readable error when the checkpoint is of other networks."""
        super().load_state_dict(state)
        try:
            for name, judge in self.judges.items():
                judge.load_state_dict(state["judges"][name])
                self._judge_optimizers[name].load_state_dict(state["judge_optimizers"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"the checkpoint's discriminators do not fit this configuration: {first}") from error


def _float32(logits: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
    return tuple(one.float() for one in logits) if isinstance(logits, tuple) else (logits.float(),)


def _adam(judge: nn.Module, config: Config) -> torch.optim.Optimizer:
    rate = config.adversarial.learning_rate
    groups = [{"params": list(judge.parameters()), "lr": rate, "base_learning_rate": rate}]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train; see ``run_adaptation``."""
    return run_with_pairs(DANNetLearner, config, inputs, output, seed, context)
