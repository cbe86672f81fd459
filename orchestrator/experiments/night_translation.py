"""Day ↔ night by UNIT, without and with the perceptual loss: how near translations come, and what they teach.

Source: the night thesis, Table 4.2 (Fréchet distances) and experiments 1.1, 2.1, 2.3, 3.1 and 3.3 of chapter 4: train
on day alone, on day and translated night, and test also on the night test set translated to day.

Rows of ``night_test`` hold the distance of translated days to real nights (of untranslated days where the arm has no
translator), those of ``day_test`` that of translated nights to real days; in ``toy_city`` the translator has seen all
of these. Both weights and every other setting are the paper's or the thesis's; what they leave open is said at its
place. Split roles: ``select`` chooses checkpoints, on the labeled source domain and, with a translator, on its
translation; what is reported neither trains nor selects; ``unlabeled`` is what infomax looks at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.experiments.camvid import camvid
from orchestrator.experiments.growing import GrowingGraph
from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.toy_city import DOMAINS, IMAGES
from orchestrator.graph import Arm, Evaluation, Experiment, Stage, evaluation_stages
from trainers.components.configs import AugmentationConfig, LossConfig, NetworkConfig, OptimizerConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.registry import method
from trainers.segmentation.supervised_config import Config as SupervisedConfig

SUMMARY = "UNIT day ↔ night without and with perceptual loss: Fréchet distances, and training on day + translated night"

PERCEPTUAL = {"no_perceptual": 0.0, "perceptual": 10.0}
"""Arm → weight of the perceptual loss: the release's 1 beside weights that are ten times its others."""


@dataclass(kw_only=True)
class NightTranslation(GrowingGraph):
    """The graph as it grows; its segmenter is trained on the labeled day domain alone."""

    day: Mapping[str, str]
    """Part → labeled day split that is translated; ``train`` is trained on."""
    real: Mapping[str, str]
    """``day`` and ``night`` → split that distances are measured to."""
    night_test: str
    """Labeled, reported, and translated to day."""
    night_unlabeled: str
    """What infomax looks at, labels unread."""
    night_measured: str
    """Nights that are translated to day for the distance there, labels unread."""
    day_test: str | None
    """Reported too where there is one."""
    unit: Mapping[str, Any]
    """Configuration of every translator but for its perceptual weight."""
    inference: Mapping[str, int]
    """Size at which images are translated; none: their own."""
    features: Mapping[str, Any]
    """Network and size of the distances."""

    def add_features(self, name: str, split: str, inputs: Mapping[str, str] | None = None) -> str:
        """One pass over a split."""
        return self.add(name, "features", {"segmenter": "segmenter", **(inputs or {})}, split=split, **self.features)

    def add_distance(self, name: str, *, of: str, to: str) -> str:
        """Between two passes."""
        self.stages[name] = Stage(name, "frechet", method("frechet").config(), {"features": of, "reference": to})
        return name

    def add_common(self) -> None:
        """The segmenter whose features measure and translate, and the real images' features."""
        self.add_segmenter()
        for domain, split in self.real.items():
            self.add_features(f"{domain}_features", split)

    def add_translator(self, name: str) -> None:
        """The translator, and what it makes of day and of the night test."""
        weights = {**self.unit.get("weights", {}), "perceptual": PERCEPTUAL[name]}
        self.add(f"unit_{name}", "unit", {"segmenter": "segmenter"}, **{**self.unit, "weights": weights})
        self.add(f"{name}_night", "translate", {"translator": f"unit_{name}"}, **self.day, **self.inference)
        self.add_to_day(name, "test", self.night_test)

    def add_to_day(self, name: str, part: str, split: str) -> None:
        """Night images of ``split``, translated to day."""
        fields = {part: split, "direction": "backward", **self.inference}
        self.add(f"{name}_day_{part}", "translate", {"translator": f"unit_{name}"}, **fields)

    def add_translator_distances(self, name: str) -> tuple[str, str]:
        """The distances of translations to real images, at night and by day."""
        self.add_to_day(name, "unlabeled", self.night_measured)
        distances = []
        for domain, split, source in (
            ("night", "translated/train", f"{name}_night"),
            ("day", "translated/unlabeled", f"{name}_day_unlabeled"),
        ):
            of = self.add_features(f"{name}_{domain}_features", split, {"translated": source})
            distances.append(self.add_distance(f"{name}_{domain}_distance", of=of, to=f"{domain}_features"))
        return distances[0], distances[1]

    def add_arm(self, name: str, train: tuple[str, ...], translator: str | None = None) -> None:
        """Train a segmenter on ``train`` and score it on everything."""
        inputs = {}
        if translator is None:
            night, day = (
                self.add_distance(
                    f"{domain}_distance", of=self.add_features(f"{kind}_features", split), to=f"{domain}_features"
                )
                for domain, kind, split in (
                    ("night", "untranslated_days", self.day["train"]),
                    ("day", "untranslated_nights", self.night_measured),
                )
            )
        else:
            self.add_translator(translator)
            # It is what is measured here: with the sweep's seed all trials of the arm would share one.
            self.stages[f"unit_{translator}"] = replace(self.stages[f"unit_{translator}"], seed_from="trial")
            night, day = self.add_translator_distances(translator)
            inputs["translated"] = f"{translator}_night"
        # Checkpoints are chosen on the validation split of what is trained on, as the thesis has it.
        also = ("translated/val",) if inputs else ()
        config = {**self.segmenter.model_dump(), "train": train, "select_also": also}
        self.add(f"train_{name}", "supervised", inputs, **config)
        reported = {"night_test": (self.night_test, night)}
        if self.day_test is not None:
            reported["day_test"] = (self.day_test, day)
        splits = {"select": str(self.segmenter.select), "unlabeled": self.night_unlabeled}
        splits |= {role: split for role, (split, _) in reported.items()}
        self.evaluate(name, f"train_{name}", splits)
        evaluations = [
            Evaluation(role, "report", f"{name}:{role}", distance) for role, (_, distance) in reported.items()
        ]
        if translator is not None:
            as_day = {"night_test_as_day": "translated/test"}
            self.evaluate(name, f"train_{name}", as_day, {"translated": f"{translator}_day_test"})
            distance = day if self.day_test is None else None
            evaluations.append(Evaluation("night_test_as_day", "report", f"{name}:night_test_as_day", distance))
        self.arms[name] = Arm(
            name,
            train=f"train_{name}",
            evaluations=(Evaluation("day_select", "select", f"{name}:select"), *evaluations),
            source=f"{name}:select",
            target_unlabeled=f"{name}:unlabeled",
            target=f"{name}:night_test",
        )

    def evaluate(
        self, name: str, train: str, splits: Mapping[str, str], inputs: Mapping[str, str] | None = None
    ) -> None:
        """Score the network of ``train`` on splits by role, as ``<name>:<role>``."""
        named = {f"{name}:{role}": split for role, split in splits.items()}
        for stage in evaluation_stages(train, named, data=inputs).values():
            self.stages[stage.name] = replace(stage, inputs={**self.made(stage.config), **stage.inputs})

    def experiment(self, preset: str) -> Experiment:
        """Three arms, and the search of the translator's weights."""
        self.add_common()
        self.add_arm("day_only", (self.day["train"],))
        for name in PERCEPTUAL:
            self.add_arm(name, (self.day["train"], "translated/train"), translator=name)
        return Experiment(
            name="night_translation",
            summary=SUMMARY,
            preset=preset,
            stages=self.stages,
            arms=self.arms,
            searches={"unit": {"unit_perceptual": "unit"}},
            objective="target_infomax",
            baseline="day_only",
        )


def real_study() -> NightTranslation:
    """The thesis's settings: NEXET by brightness, translation of Cityscapes at 512×1024, Inception's features.

    It gives the segmenter's network and no recipe: 90 epochs of SGD at 512×1024 are ours, as is the size of NEXET's
    images: 512 in height, as its "image size 512", in their own shape.
    """
    study = NightTranslation(
        segmenter=SupervisedConfig(
            train=("cityscapes/train",),
            select="cityscapes/val",
            height=512,
            width=1024,
            batch_size=8,
            network=NetworkConfig(architecture="panoptic_fpn", encoder="resnet101", weights="imagenet"),
            optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, weight_decay=1e-4),
            augmentation=AugmentationConfig(horizontal_flip=0.5, scale_min=0.5, scale_max=2.0),
            loop=LoopConfig(steps=33_000, score_every_steps=3_300, log_every_steps=100, checkpoint_every_steps=1_000),
        ),
        day={"train": "cityscapes/train", "val": "cityscapes/val"},
        real={"day": "light_pool/day_train", "night": "light_pool/night_train"},
        night_test="nighttime_driving/test",
        night_unlabeled="light_pool/night_val",
        night_measured="light_pool/night_val",
        day_test=None,
        unit={
            "source": "light_pool/day_train",
            "target": "light_pool/night_train",
            "height": 512,
            "width": 910,
            "features": "vgg16@relu5_3",
        },
        inference={"inference_height": 512, "inference_width": 1024},
        features={"features": "inception", "height": 512, "width": 1024},
        data={"light_pool": "pool"},
    )
    study.stages["pool"] = Stage(
        "pool", "light_split", method("light_split").config.model_validate({"pool": "nexet/all"})
    )
    return study


def toy_study() -> NightTranslation:
    """64×128: UNIT of width 16 with two scales, features of a segmenter of day images; no weights are downloaded."""
    study = NightTranslation(
        segmenter=SupervisedConfig(
            train=("toy_city/day_train",),
            select="toy_city/day_val",
            height=64,
            width=128,
            batch_size=4,
            optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=1e-2),
            loop=LoopConfig(steps=800, score_every_steps=100, log_every_steps=20, checkpoint_every_steps=100),
        ),
        day={"train": "toy_city/day_train", "val": "toy_city/day_val"},
        real={"day": "toy_city/day_train", "night": "toy_city/night_train"},
        night_test="toy_city/night_test",
        night_unlabeled="toy_city/night_val",
        night_measured="toy_city/night_train",
        day_test="toy_city/day_test",
        unit={
            "source": "toy_city/day_train",
            "target": "toy_city/night_train",
            "height": 64,
            "width": 128,
            "generator": {"width": 16},
            "discriminator": {"width": 16},
            # The fourth feature map has 4 × 8 cells here; the deepest, 2 × 4, would say little of where things are.
            "features": "segmenter@4",
            "augmentation": {"crop_height": None, "crop_width": None},
            # Four times the published rate for a few thousand steps instead of hundreds of thousands.
            "optimizer": {"learning_rate": 4e-4},
            "loop": {"steps": 2000, "score_every_steps": 250, "log_every_steps": 20, "checkpoint_every_steps": 100},
        },
        inference={},
        # 128 dimensions, which 320 images fill; the deepest map has 512.
        features={"features": "segmenter@3", "height": 64, "width": 128},
        data={"toy_city": "city"},
    )
    study.stages["city"] = Stage("city", "toy_city", CityConfig(images=dict.fromkeys(DOMAINS, IMAGES)))
    return study


def camvid_study() -> NightTranslation:
    """Photographs by day and at dusk, 96×128: ``toy_study`` for a domain of 62 images and their 31 labeled ones."""
    toy, gaps = toy_study(), camvid().stages["train"].config
    assert isinstance(gaps, SupervisedConfig)
    loop = LoopConfig(steps=320, score_every_steps=80, log_every_steps=20, checkpoint_every_steps=80)
    size = {"height": 96, "width": 128}
    return NightTranslation(
        segmenter=gaps.model_copy(update={**size, "batch_size": 4, "loss": LossConfig(), "loop": loop}),
        day={"train": "camvid/day_train", "val": "camvid/day_val"},
        real={"day": "camvid/day_train", "night": "camvid/dusk_adapt"},
        night_test="camvid/dusk_val",
        night_unlabeled="camvid/dusk_adapt",
        night_measured="camvid/dusk_adapt",
        day_test=None,
        unit={
            **toy.unit,
            **size,
            "source": "camvid/day_train",
            "target": "camvid/dusk_adapt",
            # As the source crops 256×256 of larger images.
            "augmentation": {"crop_height": 64, "crop_width": 64},
            "loop": {**toy.unit["loop"], "steps": 600, "score_every_steps": 100},
        },
        inference={f"inference_{name}": pixels for name, pixels in size.items()},
        # 64 dimensions, which 62 images nearly fill.
        features={"features": "segmenter@2", **size},
    )


PRESETS = {
    "toy_city": lambda: toy_study().experiment("toy_city"),
    "camvid": lambda: camvid_study().experiment("camvid"),
    "real": lambda: scored_at_label_size(real_study().experiment("real")),
}
