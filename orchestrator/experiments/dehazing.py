"""Dehazing for segmentation: what each loss of DFS is worth to a segmenter that never saw haze.

The segmenter is trained on clear images of other places and stays as it is. ``no_dehazing`` scores it on hazy images
and, as the ceiling, on the same without haze; ``pixel`` puts a generator with the adversarial and the pixel loss before
it, ``perceptual`` adds that loss and ``segmentation`` the frozen segmenter's. Rows of one evaluation set are of the
same hazy images in every arm, so ``compare`` pairs them; PSNR and SSIM to the clear images stand beside, in the rows of
``no_dehazing`` those before. ``checkpoint`` is the generator's, and ``step`` the segmenter's, whose best weights are
taken throughout.

Split roles: ``fog_select`` (with the clear images of its places) chooses the generator's checkpoints, by the
segmenter's mIoU, and is the objective of the search; clear images chose the segmenter's: ``day_val``, or in ``real``
the same 100 images of Cityscapes val. Everything else is reported: ``fog_test``, or the other 400 at each density.

Source: the document on DFS and its release: weights 1 : 10 : 10 : 10, Adam 2e-4, batch 8, 100 epochs, relu2_2 of VGG16.
Differs: it gives no segmenter and no sizes. ``real`` learns from the three densities together, at 256×512.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.experiments.growing import GrowingGraph
from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.toy_city import DOMAINS, IMAGES
from orchestrator.graph import CHECKPOINTS, Arm, Evaluation, Experiment, Stage
from trainers.components.configs import AugmentationConfig, NetworkConfig, OptimizerConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = (
    "DFS: dehazing before a frozen segmenter, loss by loss; mIoU, PSNR and SSIM of foggy, dehazed and clear images"
)

ARMS: dict[str, dict[str, float]] = {
    "pixel": {"perceptual": 0.0, "segmentation": 0.0},
    "perceptual": {"segmentation": 0.0},
    "segmentation": {},
}
"""Arm → weights that differ from the published ones."""


@dataclass(kw_only=True)
class Dehazing(GrowingGraph):
    """The graph as it grows; its segmenter is trained on clear images of other places."""

    dfs: Mapping[str, Any]
    """Configuration of every generator but for its weights."""
    select: tuple[str, str]
    """Hazy split, labeled, and its clear one: chooses the generator's checkpoint."""
    report: Mapping[str, str]
    """Evaluation set → hazy split, labeled."""
    clear: str
    """Labeled split of the reported images without haze."""
    inference: Mapping[str, int] = field(default_factory=dict)
    """Size at which images are dehazed; none: their own."""

    def add_baseline(self) -> None:
        """The segmenter on hazy images as they are, and on clear ones."""
        for role, split, reference in self._hazy():
            for checkpoint in CHECKPOINTS:
                at = f"no_dehazing:{role}"
                self._score(f"{at}@{checkpoint}", split, {})
                self.add(f"{at}:quality@{checkpoint}", "image_quality", {}, split=split, reference=reference)
        for checkpoint in CHECKPOINTS:
            self._score(f"no_dehazing:clear@{checkpoint}", self.clear, {})
        self._add_arm("no_dehazing", "segmenter", Evaluation("clear", "report", "no_dehazing:clear"))

    def add_generator(self, name: str, weights: Mapping[str, float]) -> None:
        """A generator, what it makes of every hazy split, and how that is understood and how near it comes."""
        inputs = {"segmenter": "segmenter"}
        select, select_target = self.select
        fields = {**self.dfs, "select": select, "select_target": select_target, "weights": weights}
        generator = self.add(f"dfs_{name}", "dfs", inputs, **fields)
        # It is what an arm trains: with the sweep's seed all trials of the arm would be one.
        self.stages[generator] = replace(self.stages[generator], seed_from="trial")
        for role, split, reference in self._hazy():
            for checkpoint in CHECKPOINTS:
                at = f"{name}:{role}"
                made = {"translator": f"dfs_{name}"}
                fields = {"test": split, "checkpoint": checkpoint, **self.inference}
                dehazed = self.add(f"{at}:dehazed@{checkpoint}", "translate", made, **fields)
                self._score(f"{at}@{checkpoint}", "translated/test", {"translated": dehazed})
                fields = {"split": "translated/test", "reference": reference}
                self.add(f"{at}:quality@{checkpoint}", "image_quality", {"translated": dehazed}, **fields)
        self._add_arm(name, f"dfs_{name}")

    def _hazy(self) -> list[tuple[str, str, str]]:
        """Evaluation set, hazy split, and the split of its clear images."""
        return [("fog_select", *self.select), *((role, split, self.clear) for role, split in self.report.items())]

    def _score(self, name: str, split: str, inputs: Mapping[str, str]) -> None:
        self.add(
            name, "evaluation", {"segmenter": "segmenter", **inputs}, split=split, checkpoint="best", instances=True
        )

    def _add_arm(self, name: str, train: str, *more: Evaluation) -> None:
        def evaluation(role: str, split_role: Any) -> Evaluation:
            return Evaluation(role, split_role, f"{name}:{role}", quality=f"{name}:{role}:quality")

        reported = [evaluation(role, "report") for role in self.report]
        self.arms[name] = Arm(
            name,
            train=train,
            evaluations=(evaluation("fog_select", "select"), *reported, *more),
            source=f"{name}:fog_select",
            target_unlabeled=f"{name}:fog_select",
            target=f"{name}:{next(iter(self.report))}",
        )

    def experiment(self, preset: str) -> Experiment:
        """Four arms, and the search of the last one's weights."""
        self.add_segmenter()
        self.add_baseline()
        for name, weights in ARMS.items():
            self.add_generator(name, weights)
        return Experiment(
            name="dehazing",
            summary=SUMMARY,
            preset=preset,
            stages=self.stages,
            arms=self.arms,
            searches={"dfs": {"dfs_segmentation": "dfs"}},
            objective="source_miou",
            baseline="no_dehazing",
        )


def toy_city() -> Experiment:
    """64×128: a U-Net of width 16 and depth 6, features of the segmenter; no weights are downloaded."""
    study = Dehazing(
        segmenter=SupervisedConfig(
            train=("toy_city/day_train",),
            select="toy_city/day_val",
            height=64,
            width=128,
            batch_size=4,
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            loop=LoopConfig(steps=800, score_every_steps=100, log_every_steps=20, checkpoint_every_steps=100),
        ),
        dfs={
            "source": "toy_city/fog_train",
            "target": "toy_city/clear_train",
            "height": 64,
            "width": 128,
            "batch_size": 4,
            "generator": {"width": 16, "depth": 6},
            "discriminator": {"width": 16},
            # A map of 32 × 64 cells, half the image's size, as relu2_2 has.
            "features": "segmenter@1",
            "augmentation": {"horizontal_flip": 0.5},
            # Five times the published rate for a thousand steps instead of tens of thousands.
            "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "constant"},
            "loop": {"steps": 1000, "score_every_steps": 250, "log_every_steps": 20, "checkpoint_every_steps": 100},
        },
        select=("toy_city/fog_val", "toy_city/clear_val"),
        report={"fog": "toy_city/fog_test"},
        clear="toy_city/clear_test",
        data={"toy_city": "city"},
    )
    study.stages["city"] = Stage("city", "toy_city", CityConfig(images=dict.fromkeys(DOMAINS, IMAGES)))
    return study.experiment("toy_city")


def real() -> Experiment:
    """Cityscapes and Foggy Cityscapes: the segmenter learns from one half of the training images, DFS from the other.

    90 epochs of SGD at 512×1024 for the segmenter are ours.
    """
    foggy = {beta: f"foggy_cityscapes/train_beta_{beta}" for beta in ("0.005", "0.01", "0.02")}
    study = Dehazing(
        segmenter=SupervisedConfig(
            train=("cityscapes/train:1488",),
            select="cityscapes/val:100",
            height=512,
            width=1024,
            batch_size=8,
            network=NetworkConfig(encoder="resnet101", weights="imagenet"),
            optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, weight_decay=1e-4),
            augmentation=AugmentationConfig(horizontal_flip=0.5, scale_min=0.5, scale_max=2.0),
            loop=LoopConfig(steps=16_700, score_every_steps=1_670, log_every_steps=100, checkpoint_every_steps=1_000),
        ),
        dfs={
            # The other end of the same permutation: no place is in both.
            "source": f"{foggy['0.01']}:-1487",
            "more_sources": (f"{foggy['0.005']}:-1487", f"{foggy['0.02']}:-1487"),
            "target": "cityscapes/train",
            "height": 256,
            "width": 512,
            "features": "vgg16@relu2_2",
            "loop": {"steps": 55_800, "score_every_steps": 2_790, "log_every_steps": 100},
        },
        select=("foggy_cityscapes/val_beta_0.01:100", "cityscapes/val"),
        report={f"fog_{beta}": f"foggy_cityscapes/val_beta_{beta}:-400" for beta in foggy},
        clear="cityscapes/val:-400",
        inference={"inference_height": 256, "inference_width": 512},
    )
    return scored_at_label_size(study.experiment("real"))


PRESETS = {"toy_city": toy_city, "real": real}
