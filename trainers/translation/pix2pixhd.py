"""pix2pixHD: images from label maps, with discriminators that see both.

min over the generator, max over the discriminators of: adversarial (least squares, summed over scales)
+ λ1 feature matching (the discriminators' features of a generated and of the real image)
+ λ2 perceptual (a frozen network's features of both).

Shape legend: n images of this rank, k planes of a label map, h height, w width.

Source: Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs, sections 3.1 to
    3.3; NVIDIA/pix2pixHD, pix2pixHD_model.py and train.py: both losses are of the networks as they were before the
    step; the generator moves first, then the discriminators by half of their loss.
Differs: the perceptual network sees images normalized as its weights expect, where the release feeds [-1, 1] to VGG19.
    The rate falls with each step, not each epoch. When the global generator joins the enhancer, only its own moments
    begin at 0; the release gives both a new optimizer. Not rebuilt: the encoder of instance features, which the release
    leaves out by default, and the pool of earlier images, whose size there is 0.
Logs: ``loss`` (of the generator, weighed), ``adversarial``, ``feature_matching``, ``perceptual`` where it is on,
    ``discriminator``, ``discriminator_accuracy`` (share of patches judged right; .5 is a draw); ``selection`` is the
    step: none of these tells quality, so the last weights are the best.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.checkpoint import load_state
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import label_map_of, open_split
from trainers.data.instances import check_instances
from trainers.data.label_maps import (
    EDGES_REMEDY,
    AugmentedLabelMaps,
    LabelMapBatch,
    LabelMapImages,
    label_colors,
    label_map_batches,
)
from trainers.data.sampling import derive_seed
from trainers.errors import MethodWarning, UserError
from trainers.loop import train
from trainers.networks.features import FeatureNetwork, build_features, check_feature_source, check_features
from trainers.translation.discriminators import accuracy
from trainers.translation.losses import absolute, adversarial, feature_matching
from trainers.translation.pix2pixhd_config import GLOBAL, Config, LabelGeneratorConfig
from trainers.translation.pix2pixhd_networks import ConditionalDiscriminator, Pix2PixHD, encode
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
from trainers.translation.translators import read_translator, write_translator

OTHERS = "raise the other losses' weights"


class Pix2PixHDLearner:
    """A generator with one optimizer, discriminators with another."""

    def __init__(
        self, config: Config, *, context: TrainContext, colors: Tensor, features: nn.Module | None = None
    ) -> None:
        """``colors``: RGB of each label id in 0…255, for pictures; ``features``: those of the perceptual loss."""
        self.config, self.context = config, context
        self.generator = Pix2PixHD(config.generator).to(context.device)
        channels = config.generator.channels() + 3
        self.discriminator = ConditionalDiscriminator(config.discriminator, channels).to(context.device)
        self._features = None if features is None else features.to(context.device)
        self._colors = signed(colors.T[None, :, :, None])[0, :, :, 0].to(context.device)
        self._share = partial(distributed.mean_share, context=context)
        # Apart, because the one has no gradients as long as it is frozen.
        self._forward_base = distributed.parallel(self.generator.base, context)
        rest = {name: part for name, part in self.generator.named_children() if name != "base"}
        self._forward_rest = distributed.parallel(distributed.WholeStep(self._finish, **rest), context)
        judge = distributed.WholeStep(self._judge, discriminator=self.discriminator)
        self._forward_judge = distributed.parallel(judge, context)
        alone = [one for part in rest.values() for one in part.parameters()]
        self.optimizer = build_optimizer(alone, config.optimizer)
        # A group of its own: fused SGD cannot take parameters that begin late among others.
        self.optimizer.add_param_group({"params": list(self.generator.base.parameters())})
        self.judge_optimizer = build_optimizer(self.discriminator.parameters(), config.optimizer)
        self.panels, self._watch = Panels(config.pictures, config.loop), Watch(context, OTHERS)
        self._step = 0

    def train_step(self, batch: LabelMapBatch, step: int) -> Mapping[str, Tensor]:
        """Both losses from the networks as they are; then the generator learns, then the discriminators."""
        config, self._step = self.config, step
        optimizers = (self.optimizer, self.judge_optimizer)
        set_learning_rate(optimizers, config.optimizer, step, steps=config.loop.steps)
        real, encoded = signed(batch.images), encode(batch.label_maps, config.generator.label_nc)
        with self._autocast():
            fake = self._generate(encoded, step).float()
            judged = self._forward_judge(encoded, real, fake.detach())
            with distributed.without_gradients(self.discriminator):
                maps = self.discriminator(encoded, fake)
        patches, features = _patches(maps), _features(maps)
        known = [judged[name] for name in sorted(judged) if name.startswith("real ")]
        losses = {
            "adversarial": adversarial(patches, is_real=True, gan_loss="lsgan", share=self._share),
            "feature_matching": feature_matching(features, known, scales=len(maps), share=self._share),
        }
        if self._features is not None:
            losses["perceptual"] = self._perceptual(fake, real)
        weights = config.weights
        loss = losses["adversarial"] + weights.feature_matching * losses["feature_matching"]
        loss = loss + weights.perceptual * losses["perceptual"] if "perceptual" in losses else loss
        descend(self.optimizer, loss, self.context)
        descend(self.judge_optimizer, judged["discriminator"], self.context)
        self._remember(step, batch.label_maps, real, fake.detach(), judged["accuracy"])
        found = {**losses, "loss": loss, "discriminator": judged["discriminator"]}
        share = judged["accuracy"] / self.context.world_size
        return {**{name: value.detach() for name, value in found.items()}, "discriminator_accuracy": share}

    def _generate(self, encoded: Tensor, step: int) -> Tensor:
        seen = self.generator.halve(encoded)
        if step <= self.config.global_frozen_steps:
            with torch.no_grad():
                features = self.generator.base(seen)
        else:
            features = self._forward_base(seen)
        image: Tensor = self._forward_rest(encoded, features)["image"]
        return image

    def _finish(self, encoded: Tensor, features: Tensor) -> dict[str, Tensor]:
        return {"image": self.generator.finish(encoded, features)}

    def _judge(self, encoded: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Half the discriminators' loss, how often they were right on this rank, and their features of real images."""
        of_real, of_fake = self.discriminator(encoded, real), self.discriminator(encoded, fake)
        sides = [(_patches(of_real), True), (_patches(of_fake), False)]
        losses = [adversarial(maps, is_real=one, gan_loss="lsgan", share=self._share) for maps, one in sides]
        right = [accuracy(maps, is_real=one, gan_loss="lsgan") for maps, one in sides]
        known = {f"real {number:03d}": one.detach() for number, one in enumerate(_features(of_real))}
        return {"discriminator": torch.stack(losses).sum() / 2, "accuracy": torch.stack(right).mean(), **known}

    def _perceptual(self, fake: Tensor, real: Tensor) -> Tensor:
        """Weighed sum over layers of the mean absolute difference, in float32."""
        assert self._features is not None
        layers = [one.layer for one in self.config.features]
        with torch.autocast(self.context.device.type, enabled=False):
            made = self._features.maps((fake + 1) * 127.5, layers)  # type: ignore[operator]
            with torch.no_grad():
                true = self._features.maps((real + 1) * 127.5, layers)  # type: ignore[operator]
            terms = [
                weight * absolute(one, other, self._share)
                for weight, one, other in zip(self.config.feature_weights, made, true, strict=True)
            ]
        return torch.stack(terms).sum()

    def _remember(self, step: int, label_maps: Tensor, real: Tensor, fake: Tensor, right: Tensor) -> None:
        self._watch.see(right, {"generated images": (real, fake, real)})
        labels = self._colors[:, label_maps[0, 0].long()]
        self.panels.show(step, {"label map": labels, "generated": fake[0], "real": real[0]})

    def score(self) -> Mapping[str, float]:
        """The step, as ``selection``; warns where something goes wrong."""
        self._watch.tell(self._step)
        self.panels.keep()
        return {"selection": float(self._step)}

    def weights(self) -> dict[str, Tensor]:
        """The generator."""
        return self.generator.state_dict()

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
        return {name: getattr(self, name) for name in ("generator", "discriminator", "optimizer", "judge_optimizer")}

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.context.device.type, dtype=torch.bfloat16, enabled=enabled)


def _patches(judged: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [maps[-1] for maps in judged]


def _features(judged: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Of all scales and layers, without the patches."""
    return [one for maps in judged for one in maps[:-1]]


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse sizes that the networks cannot take, absent data, instance maps, weights, and another global generator."""
    stride = config.generator.stride()
    for name, pixels in zip(("height", "width"), config.size(), strict=True):
        if pixels % stride or pixels < 2 * stride:
            near = max(2 * stride, round(pixels / stride) * stride)
            raise UserError(
                f"{name} {pixels} is no multiple of {stride}, the generator's stride, or less than two of it; the "
                f"nearest is {near}"
            )
    if config.train.dataset in inputs:  # Else a stage that has not run yet makes it.
        samples = open_split(inputs, config.train)
        if config.generator.edges:
            check_instances(samples, EDGES_REMEDY)
    if config.weights.perceptual > 0:
        for one in config.features if config.features[-1].network == "segmenter" else config.features[-1:]:
            check_features(one, inputs)
    if GLOBAL in inputs and config.generator.enhancer == "local":
        described = read_translator(inputs[GLOBAL])
        if described["method"] != "pix2pixhd":
            raise UserError(f"{inputs[GLOBAL]} is of the method {described['method']!r}; {GLOBAL} takes a pix2pixhd")
        check_global(config.generator, LabelGeneratorConfig.model_validate(described["generator"]))


def check_global(ours: LabelGeneratorConfig, theirs: LabelGeneratorConfig) -> None:
    """Refuse a generator that the enhancer of ``ours`` cannot stand around.

    Raises:
        UserError: with the fields that differ.
    """
    if theirs.enhancer == "local":
        raise UserError(f"the {GLOBAL} has an enhancer itself; give the stage that it started from")
    names = ("label_nc", "edges", "width", "downsamplings", "blocks")
    if different := [name for name in names if getattr(ours, name) != getattr(theirs, name)]:
        told = ", ".join(
            f"{name} {getattr(theirs, name)!r} there and {getattr(ours, name)!r} here" for name in different
        )
        raise UserError(f"the {GLOBAL} is another network ({told}); give both the same")


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a perceptual loss on a segmenter, or an enhancer around a generator, that is no input."""
    if config.weights.perceptual > 0:
        check_feature_source(config.features[-1], sources)
    if config.generator.enhancer == "none":
        return
    if GLOBAL not in sources:
        raise UserError(f"generator.enhancer local needs an input `{GLOBAL}`: the training of the global generator")
    trained = sources[GLOBAL]
    if not isinstance(trained, Config):
        raise UserError(f"{GLOBAL} takes the training of a pix2pixhd")
    check_global(config.generator, trained.generator)


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train and leave ``final.pt``, ``best.pt``, ``curves.json``, ``translator.json`` and pictures in ``output``."""
    check_workers(config.batch_size, context)
    images = LabelMapImages(
        inputs,
        config.train,
        height=config.height,
        width=config.width,
        label_nc=config.generator.label_nc,
        edges=config.generator.edges,
        cache_bytes=config.cache_bytes,
    )
    if len(images) == 1 and context.rank == 0:
        text = f"{config.train} is one image, which the discriminators will know by heart; give more"
        warnings.warn(text, MethodWarning, stacklevel=2)
    samples = AugmentedLabelMaps(images, config.augmentation, batch_size=config.batch_size, seed=seed)
    features = _build_features(config, inputs)
    learner = _build_learner(config, inputs, features, seed, context)

    def batches(steps: range) -> Iterator[LabelMapBatch]:
        return label_map_batches(
            samples, steps=steps, batch_size=config.batch_size, workers=config.loader_workers, context=context
        )

    result = train(
        learner,  # type: ignore[arg-type]  # Its batches hold label maps.
        batches,  # type: ignore[arg-type]
        config.loop,
        batch_size=config.batch_size,
        seed=seed,
        output=output,
        context=context,
    )
    if context.rank == 0:
        write_translator(output, "pix2pixhd", generator=config.generator, source=config.train, target=config.train)
        weights = config.weights
        caption = f"feature matching {weights.feature_matching:g}, perceptual {weights.perceptual:g}"
        learner.panels.write(output, caption)
    found = {**result, "source_images": len(images)}
    if features is None:
        return found
    named = ", ".join(map(str, config.features))
    return {**found, "features": named, "features_weights_hash": features.weights_hash}


def _build_features(config: Config, inputs: Mapping[str, Path]) -> FeatureNetwork | None:
    return build_features(config.features[-1], inputs) if config.weights.perceptual > 0 else None


def _build_learner(
    config: Config, inputs: Mapping[str, Path], features: FeatureNetwork | None, seed: int, context: TrainContext
) -> Pix2PixHDLearner:
    """With the weights of the global generator where there is one."""
    dataset = config.train.dataset
    colors = label_colors(label_map_of(dataset, inputs[dataset]), config.generator.label_nc)
    torch.manual_seed(derive_seed(seed, "initialization"))
    learner = Pix2PixHDLearner(config, context=context, colors=colors, features=features)
    if config.generator.enhancer == "local":
        if GLOBAL not in inputs:
            raise UserError(f"generator.enhancer local needs an input `{GLOBAL}`: the training of the global generator")
        weights = load_state(inputs[GLOBAL] / "final.pt")["weights"]
        base = {name.removeprefix("base."): one for name, one in weights.items() if name.startswith("base.")}
        learner.generator.base.load_state_dict(base)
    return learner
