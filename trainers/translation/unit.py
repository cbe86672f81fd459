"""UNIT: unpaired translation through a latent space that both domains share.

min over generators, max over discriminators of: λ0 (adversarial, of both translations) + λ1 KL(codes of images)
+ λ2 |image - own decoding| + λ3 [KL(codes of images) +] KL(codes of translations) + λ4 |image - there and back|
+ λ5 perceptual distance of each translation and the image that it was made of.

Shape legend: n images of this rank, h height, w width; (d y x) the latent map of an image.

Source: Liu et al., UNIT, eqs. 4 to 11; mingyuliutw/UNIT, trainer.py; the night thesis, section 3.2 (eqs. 3.1 to 3.5,
    perceptual loss, inference at 512×1024).
Differs: one pass of the generators serves both updates, discriminators first; the release makes a second one with other
    noise. Generators maximize log D (see ``losses.adversarial``). No layer of a discriminator is shared. The release's
    perceptual VGG16 is Caffe's (BGR in 0…255 less its mean), ours torchvision's with the normalization of its weights;
    as there, the pooling before its last block is left out.
Logs: ``loss`` (of the generators, weighed), ``adversarial``, ``reconstruction``, ``cycle`` (mean absolute difference in
    [0, 2]), ``kl``, ``cycle_kl``, ``perceptual`` where it is on, ``discriminator`` (weighed by λ0),
    ``discriminator_accuracy`` (share of patches judged right; .5 is a draw); ``selection`` is the step: adversarial
    losses tell nothing about quality, so the last weights are the best.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import DomainBatch, TargetImages, domain_batches
from trainers.data.loader import AugmentedSamples
from trainers.data.sampling import derive_seed
from trainers.errors import MethodWarning, UserError
from trainers.loop import train
from trainers.networks.features import build_features, check_feature_source, check_features
from trainers.translation.discriminators import MultiScaleDiscriminator, accuracy
from trainers.translation.losses import absolute, adversarial, instance_normalized_distance, kl_to_standard_normal
from trainers.translation.training import (
    Panels,
    Watch,
    build_optimizer,
    check_crop,
    check_workers,
    descend,
    draw_noise,
    load_parts,
    set_learning_rate,
    signed,
)
from trainers.translation.translators import write_translator
from trainers.translation.unit_config import Config
from trainers.translation.unit_networks import UNIT

DOMAINS = ("source", "target")


class UNITLearner:
    """Two encoders and two decoders with one optimizer, two discriminators with another."""

    def __init__(self, config: Config, *, context: TrainContext, seed: int, features: nn.Module | None = None) -> None:
        """``features``: the frozen network of the perceptual loss."""
        self.config, self.context, self._seed = config, context, seed
        self.generators = UNIT(config.generator).to(context.device)
        judges = {name: MultiScaleDiscriminator(config.discriminator) for name in DOMAINS}
        self.discriminators = nn.ModuleDict(judges).to(context.device)
        self._features = None if features is None else features.to(context.device)
        self._share = partial(distributed.mean_share, context=context)
        step = distributed.WholeStep(self._generate, generators=self.generators)
        judge = distributed.WholeStep(self._judge, discriminators=self.discriminators)
        self._forward, self._forward_judge = (distributed.parallel(one, context) for one in (step, judge))
        self.optimizer = build_optimizer(self.generators.parameters(), config.optimizer)
        self.judge_optimizer = build_optimizer(self.discriminators.parameters(), config.optimizer)
        self.panels, self._watch = Panels(config.pictures, config.loop), Watch(context)
        self._step = 0

    def train_step(self, batch: DomainBatch, step: int) -> Mapping[str, Tensor]:
        """One pass of the generators; discriminators learn from it first, then the generators."""
        config, self._step = self.config, step
        optimizers = (self.optimizer, self.judge_optimizer)
        set_learning_rate(optimizers, config.optimizer, step, steps=config.loop.steps)
        images = {"source": signed(batch.images), "target": signed(batch.target_images)}
        with self._autocast():
            made = self._forward(images["source"], images["target"], self._noise(images["source"], step))
        fakes = {name: made[name].float() for name in DOMAINS}
        with self._autocast():
            judged = self._forward_judge(images, {name: fake.detach() for name, fake in fakes.items()})
        descend(self.judge_optimizer, judged["discriminator"], self.context)
        with self._autocast(), distributed.without_gradients(self.discriminators):
            fooled = self._adversarial(fakes, is_real=True)
        losses = {name: value for name, value in made.items() if value.ndim == 0}
        loss = config.weights.gan * fooled + self._weighed(losses)
        descend(self.optimizer, loss, self.context)
        self._remember(step, images, {**made, **fakes}, judged["accuracy"])
        found = {"adversarial": fooled, "discriminator": judged["discriminator"], **losses, "loss": loss}
        share = judged["accuracy"] / self.context.world_size
        return {**{name: value.detach() for name, value in found.items()}, "discriminator_accuracy": share}

    def _generate(self, source: Tensor, target: Tensor, noise: Sequence[Tensor]) -> dict[str, Tensor]:
        """Translations under the name of their domain, what came back under ``back_…``, and the losses without the
        adversarial one.
        """
        encoders, decoders = self.generators.encoders, self.generators.decoders
        codes = {"source": encoders["source"](source), "target": encoders["target"](target)}
        noisy = torch.cat([codes["source"] + noise[0], codes["target"] + noise[1]])
        # Norms are of single images, so one pass decodes what stays in its domain and what changes it.
        own_source, to_source = decoders["source"](noisy).chunk(2)
        to_target, own_target = decoders["target"](noisy).chunk(2)
        back = {"source": encoders["target"](to_target), "target": encoders["source"](to_source)}
        cycled_source = decoders["source"](back["source"] + noise[2])
        cycled_target = decoders["target"](back["target"] + noise[3])
        share = self._share
        losses = {
            "reconstruction": absolute(own_source, source, share) + absolute(own_target, target, share),
            "cycle": absolute(cycled_source, source, share) + absolute(cycled_target, target, share),
            "kl": kl_to_standard_normal(codes["source"], share) + kl_to_standard_normal(codes["target"], share),
            "cycle_kl": kl_to_standard_normal(back["source"], share) + kl_to_standard_normal(back["target"], share),
        }
        if self._features is not None:
            losses["perceptual"] = self._perceptual(to_target, source) + self._perceptual(to_source, target)
        made = {"source": to_source, "target": to_target, "back_source": cycled_source, "back_target": cycled_target}
        return {**made, **losses}

    def _perceptual(self, translated: Tensor, origin: Tensor) -> Tensor:
        """Between a translation and the image that it was made of, in float32."""
        assert self._features is not None
        with torch.autocast(self.context.device.type, enabled=False):
            first, second = (self._features((one.float() + 1) * 127.5) for one in (translated, origin))
            return instance_normalized_distance(first, second, self._share)

    def _judge(self, images: Mapping[str, Tensor], fakes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The discriminators' weighed loss, and how often they were right on this rank."""
        gan_loss = self.config.gan_loss
        loss, right = torch.zeros((), device=self.context.device), []
        for name in DOMAINS:
            for shown, is_real in ((images[name], True), (fakes[name], False)):
                maps = self.discriminators[name](shown)
                loss = loss + adversarial(maps, is_real=is_real, gan_loss=gan_loss, share=self._share)
                right.append(accuracy(maps, is_real=is_real, gan_loss=gan_loss))
        return {"discriminator": self.config.weights.gan * loss, "accuracy": torch.stack(right).mean()}

    def _adversarial(self, fakes: Mapping[str, Tensor], *, is_real: bool) -> Tensor:
        judged = [
            adversarial(self.discriminators[name](fake), is_real=is_real, gan_loss=self.config.gan_loss,
                        share=self._share) for name, fake in fakes.items()
        ]  # fmt: skip
        return torch.stack(judged).sum()

    def _weighed(self, losses: Mapping[str, Tensor]) -> Tensor:
        """All losses of the generators but the adversarial one."""
        weights = self.config.weights
        kl = weights.kl + (weights.cycle_kl if self.config.kl_first == "twice" else 0.0)
        total = weights.reconstruction * losses["reconstruction"] + weights.cycle * losses["cycle"]
        total = total + kl * losses["kl"] + weights.cycle_kl * losses["cycle_kl"]
        return total + weights.perceptual * losses["perceptual"] if "perceptual" in losses else total

    def _noise(self, images: Tensor, step: int) -> list[Tensor]:
        """Four maps for each image, in the latent map's shape."""
        config = self.config.generator
        stride, (height, width) = config.stride(), images.shape[2:]
        slots = range(self.context.rank, self.config.batch_size, self.context.world_size)
        seeds = [derive_seed(self._seed, "noise", step, slot) for slot in slots]
        shape = (4, config.width * stride, height // stride, width // stride)
        return list(draw_noise(shape, seeds, images.device).unbind(1))

    def _remember(self, step: int, images: Mapping[str, Tensor], made: Mapping[str, Tensor], right: Tensor) -> None:
        self._watch.see(
            right,
            {
                "translations to the target": (images["source"], made["target"].detach(), images["target"]),
                "translations to the source": (images["target"], made["source"].detach(), images["source"]),
            },
        )
        tiles = {"source": images["source"], "to target": made["target"], "back to source": made["back_source"],
                 "target": images["target"], "to source": made["source"],
                 "back to target": made["back_target"]}  # fmt: skip
        self.panels.show(step, {kind: tile[0] for kind, tile in tiles.items()})

    def score(self) -> Mapping[str, float]:
        """The step, as ``selection``; warns where something goes wrong."""
        self._watch.tell(self._step)
        self.panels.keep()
        return {"selection": float(self._step)}

    def weights(self) -> dict[str, Tensor]:
        """Encoders and decoders."""
        return self.generators.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, pictures."""
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "panels": self.panels.kept,
            "told": sorted(self._watch.told),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse, with a readable error when the checkpoint is another network's."""
        load_parts(self._parts(), state)
        self.panels.kept, self._watch.told = dict(state["panels"]), set(state["told"])

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("generators", "discriminators", "optimizer", "judge_optimizer")}

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.context.device.type, dtype=torch.bfloat16, enabled=enabled)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse sizes that the networks cannot take, domains of different sizes, absent data and absent weights."""
    crop = config.augmentation.crop_height, config.augmentation.crop_width
    for name, cropped, ours, theirs in zip(
        ("height", "width"), crop, (config.height, config.width), config.target_size(), strict=True
    ):
        if cropped is None and ours != theirs:
            raise UserError(
                f"source images have {name} {ours} and target images {theirs}; set augmentation.crop_{name}, or "
                f"target_{name} to {ours}"
            )
        _check_side(config, name, cropped or ours)
    check_crop(config.augmentation, config.height, config.width)
    check_crop(config.augmentation, *config.target_size())
    for split in (config.source, config.target):
        if split.dataset in inputs:  # Else a stage that has not run yet makes it.
            open_split(inputs, split)
    if config.features is not None and config.weights.perceptual > 0:
        check_features(config.features, inputs)


def _check_side(config: Config, name: str, pixels: int) -> None:
    stride, least = config.generator.stride(), config.discriminator.least_pixels()
    if pixels < least:
        raise UserError(
            f"{name} {pixels} is less than the {least} that {config.discriminator.scales} scales of "
            f"{config.discriminator.layers} layers need; take larger crops, or fewer discriminator.scales"
        )
    if pixels % stride:
        near = max(stride, round(pixels / stride) * stride)
        raise UserError(f"{name} {pixels} is not a multiple of {stride}, the generator's stride; the nearest is {near}")


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a perceptual loss on a segmenter that is no input."""
    if config.features is not None:
        check_feature_source(config.features, sources)


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train and leave ``final.pt``, ``best.pt``, ``curves.json``, ``translator.json`` and pictures in ``output``."""
    check_workers(config.batch_size, context)
    height, width = config.target_size()
    cache = config.cache_bytes
    source = TargetImages(inputs, config.source, height=config.height, width=config.width, cache_bytes=cache)
    target = TargetImages(inputs, config.target, height=height, width=width, cache_bytes=cache)
    for images in (source, target):
        if len(images) == 1 and context.rank == 0:
            warnings.warn(
                f"{images.split} is a domain of one image, which its discriminator will know by heart; give more",
                MethodWarning,
                stacklevel=2,
            )
    samples, others = (
        AugmentedSamples([images], config.augmentation, batch_size=config.batch_size, seed=derive_seed(seed, name))
        for images, name in ((source, "source"), (target, "target"))
    )
    features = None
    if config.features is not None and config.weights.perceptual > 0:
        features = build_features(config.features, inputs, omit_last_pooling=config.omit_last_pooling)
    torch.manual_seed(derive_seed(seed, "initialization"))
    learner = UNITLearner(config, context=context, seed=seed, features=features)

    def batches(steps: range) -> Iterator[DomainBatch]:
        return domain_batches(
            samples, others, steps=steps, batch_size=config.batch_size, workers=config.loader_workers, context=context
        )

    result = train(
        learner,  # type: ignore[arg-type]  # Its batches are of two domains.
        batches,
        config.loop,
        batch_size=config.batch_size,
        seed=seed,
        output=output,
        context=context,
    )
    if context.rank == 0:
        write_translator(output, "unit", generator=config.generator, source=config.source, target=config.target)
        learner.panels.write(output, f"λ0 {config.weights.gan:g}, perceptual {config.weights.perceptual:g}")
    found = {"source_images": len(source), "target_images": len(target)}
    if features is None:
        return {**result, **found}
    return {**result, **found, "features": features.name, "features_weights_hash": features.weights_hash}
