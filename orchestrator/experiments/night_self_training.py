"""Self-training at night: the night thesis's experiments 1 to 8 as arms of one graph, named as its tables name them.

An arm trains on labeled images (day, their translations to night, or both) and on unlabeled ones that a teacher
labels; it begins at an earlier arm's last weights or at the network's own. The teacher is the arm that it begins at,
or, from the network's own weights, the one named. Arms that the thesis only evaluates (2.3, 2.4, 3.3, 3.4, 4.2) score
another arm's network on the night test translated to day. ``fda`` needs no translator: labeled day images take the low
frequencies of the unlabeled night images, which are pseudo-labeled as in the other arms. ``3.1_longer`` goes on from
3.1 without unlabeled images, so that what these add is told from what steps add; ``6.1_legacy`` has the focal loss of
the batch's mean.

Unlabeled images: ``camvid`` (by day), the whole night pool (``all``), by brightness (``his``), or by the Fréchet
distance of a single image to translated nights (``fid``); rows of the night test hold the distance of what was chosen
to these, and the threshold.

Split roles: checkpoints are chosen on the validation split of what an arm is trained on, day, night or both in one
score, as the thesis pairs them; the night test and, where there is one, the day test are reported; ``unlabeled`` is
what infomax looks at.

Source: the night thesis, sections 3.3 and 4.4; ``night_translation`` has its translators, which are the same stages.
Differs: it implies teachers and begins "from scratch" at an initial model that it does not name; every training from
    the network's own weights takes as many steps as any other, and every one from an earlier arm's half of them, where
    it has equal epochs. Its threshold 450 has no known features, so the share that it accepts, 1600 of 14 937, is
    what counts; its score by brightness has no known scale (percent here).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.experiments.label_size import scored_at_label_size
from orchestrator.experiments.night_rows import BETTER, CONVERTED, LOSSES, PLAIN, ROWS, VARIANTS, Row
from orchestrator.experiments.night_translation import NightTranslation, camvid_study, real_study, toy_study
from orchestrator.experiments.toy_city import DOMAINS, HELD_OUT, IMAGES
from orchestrator.graph import Arm, Evaluation, Experiment, Stage
from trainers.components.configs import LossConfig
from trainers.data.render_city_config import Config as CityConfig
from trainers.loop_config import LoopConfig
from trainers.networks.features_config import FeatureConfig

SUMMARY = "The night thesis's 25 rows: self-training on selected night images, day and translated night; and FDA"

BASE = "3.1"
"""Arm whose features select."""


def plain(arm: str) -> str:
    """A name without a dot, which stands between a stage and its field."""
    return arm.replace(".", "_")


def train(arm: str) -> str:
    """The training stage of an arm."""
    return f"train_{plain(arm)}"


def translated(translator: str | None) -> dict[str, str]:
    """The input that holds a translator's nights."""
    return {} if translator is None else {"translated": f"{translator}_night"}


@dataclass
class SelfTraining:
    """The graph as it grows, around that of the translators."""

    study: NightTranslation
    camvid: str
    """Unlabeled split of experiment 1; in the thesis CamVid, by day."""
    pool: str
    """Unlabeled night images to choose from."""
    loop: LoopConfig
    """Of every training from the network's own weights; one that begins at an earlier arm takes half of its steps."""
    his: Mapping[str, Any]
    """The selection by brightness."""
    fid: Mapping[str, Any]
    """The selection by features."""
    beta: float
    """Of ``fda``."""
    pooled: Mapping[str, str] = field(default_factory=dict)
    """Data set → the stage that makes it, for stages that see the pool."""
    held_out: Mapping[str, str] = field(default_factory=dict)
    """Reported evaluation set → the split of Toy City that a confirmation scores beside it."""
    arms: dict[str, Arm] = field(default_factory=dict)

    def halved(self) -> LoopConfig:
        """The loop of a training that begins at an earlier arm."""
        loop = self.loop
        return loop.model_copy(update={"steps": loop.steps // 2, "score_every_steps": loop.score_every_steps // 2})

    def labeled(self, row: Row, part: str) -> dict[str, str]:
        """Domain → labeled split of an arm, to train on or to select by."""
        both = {"day": self.study.day[part], "night": f"translated/{part}"}
        return both if row.labeled == "both" else {row.labeled: both[row.labeled]}

    def add_passes(self) -> None:
        """Features of the pool and of translated nights, and the pool's colors: what every selection reads."""
        study, base = self.study, {"segmenter": train(BASE)}
        needed = base if FeatureConfig.model_validate(study.features["features"]).needs_input() else {}
        study.add("pool_features", "features", {**self.pooled, **needed}, **{**study.features, "split": self.pool})
        reference = {**study.features, "split": "translated/train"}
        study.add("reference_features", "features", {**translated(BETTER), **needed}, **reference)
        study.add(
            "pool_colors", "features", self.pooled, **{**study.features, "split": self.pool, "features": "colors"}
        )

    def add_selections(self) -> None:
        """Sets of unlabeled images; ratios are to day and night, and the nights are as many as the days."""
        study, measured = self.study, {"features": "pool_features", "reference": "reference_features"}
        common = {"pool": self.pool, "labeled": (study.day["train"],) * 2}
        colors = {**self.pooled, "colors": "pool_colors"}
        study.add("select_fid", "selection", {**self.pooled, **measured}, **common, **self.fid)
        study.add("select_his", "selection", {**colors, **measured}, **common, **self.his)
        # Unmeasured: rows without the base arm do not wait for it.
        study.add("select_fda", "selection", colors, **common, **self.his)
        study.add("select_all", "selection", self.pooled, **common, scorer="random")

    def add_row(self, name: str, row: Row) -> None:
        """An arm that trains."""
        inputs = {**translated(row.translator), **({"initial": train(row.initial)} if row.initial else {})}
        select, *more = self.labeled(row, "val").values()
        config: dict[str, Any] = {
            **self.study.segmenter.model_dump(),
            "train": tuple(self.labeled(row, "train").values()),
            "select": select,
            "select_also": tuple(more),
            "loss": LossConfig(**LOSSES[row.loss]),
            "loop": self.halved() if row.initial else self.loop,
        }
        if row.unlabeled is None:
            self.study.add(train(name), "supervised", inputs, **config)
        else:
            seen, target = self.unlabeled(row.unlabeled)
            labels = self.add_labels(row.unlabeled, row.teacher or row.initial or "")
            self.study.add(
                train(name), "self_training", {**inputs, **seen, "pseudo_labels": labels}, **config, target=target
            )
        self.add_arm(name, name, row)

    def unlabeled(self, name: str) -> tuple[dict[str, str], str]:
        """The inputs and the split of a set of unlabeled images."""
        if name == "camvid":
            return dict(self.pooled), self.camvid
        return {**self.pooled, "selected": f"select_{name}"}, "selected/train"

    def add_labels(self, unlabeled: str, teacher: str) -> str:
        """The pseudo-labels of every pixel by one teacher; arms with the same set and teacher share them."""
        inputs, target = self.unlabeled(unlabeled)
        size = {"height": self.study.segmenter.height, "width": self.study.segmenter.width}
        name = f"labels_{unlabeled}_{plain(teacher)}"
        inputs["segmenter"] = train(teacher)
        return self.study.add(name, "pseudo_labels", inputs, target=target, keep="all", **size)

    def add_fda(self) -> None:
        """Day images in the style of selected nights, which the arm of day alone labels."""
        inputs, target = self.unlabeled("fda")
        inputs |= {"initial": train("1.1"), "pseudo_labels": self.add_labels("fda", "1.1")}
        given = self.study.segmenter.model_dump()
        # A smaller target would be padded, and a style is taken of whole images.
        given["augmentation"]["scale_min"] = max(1.0, given["augmentation"]["scale_min"])
        fields = {**given, "select_by": "miou", "loop": self.halved(), "target": target}
        self.study.add(train("fda"), "fda", inputs, **fields, beta=self.beta, entropy_weight=0.0)
        self.add_arm("fda", "fda", Row("day", unlabeled="fda"))

    def add_arm(self, name: str, trained: str, row: Row) -> None:
        """Score the network of the row ``trained``: on the night test, or for another name on its translation."""
        study, base = self.study, plain(name)
        selects = {f"{domain}_select": split for domain, split in self.labeled(row, "val").items()}
        for role, split in selects.items():
            study.evaluate(base, train(trained), {role: split}, translated(row.translator) if "night" in role else {})
        study.evaluate(base, train(trained), {"unlabeled": study.night_unlabeled})
        if name == trained:
            reported = {"night_test": study.night_test, **({"day_test": study.day_test} if study.day_test else {})}
            study.evaluate(base, train(trained), reported)
        else:
            reported = {"night_test_as_day": "translated/test"}
            study.evaluate(base, train(trained), reported, {"translated": f"{row.translator}_day_test"})
        held_out = {role: split for role, split in self.held_out.items() if role in reported}
        for split in held_out.values():
            study.evaluate(base, train(trained), {split: f"toy_city/{split}"}, {"toy_city": "city_held_out"})
        night = next(iter(reported))
        selection = None if row.unlabeled in (None, "camvid") else f"select_{row.unlabeled}"
        self.arms[name] = Arm(
            name,
            train=train(trained),
            evaluations=(
                *(Evaluation(role, "select", f"{base}:{role}") for role in selects),
                *(Evaluation(role, "report", f"{base}:{role}", selection if role == night else None)
                  for role in reported),
            ),
            source=f"{base}:{next(iter(selects))}",
            target_unlabeled=f"{base}:unlabeled",
            target=f"{base}:{night}",
            held_out={role: Evaluation(split, "held_out", f"{base}:{split}") for role, split in held_out.items()},
        )  # fmt: skip

    def experiment(self, preset: str, *, fda_space: str) -> Experiment:
        """All arms, in the thesis's order."""
        self.study.add_segmenter()
        for translator in (PLAIN, BETTER):
            self.study.add_translator(translator)
        self.add_passes()
        self.add_selections()
        for name, row in {**ROWS, **VARIANTS}.items():
            self.add_row(name, row)
        for name, of in CONVERTED.items():
            self.add_arm(name, of, ROWS[of])
        self.add_fda()
        return Experiment(
            name="night_self_training",
            summary=SUMMARY,
            preset=preset,
            stages=self.study.stages,
            arms=dict(sorted(self.arms.items())),
            searches={
                "night_joint": {"select_fid": "night_selection", train("7.2"): "self_training_alpha"},
                "loss_alpha": {train("7.2"): "self_training_alpha"},
                "base_loss_alpha": {train(BASE): "loss_alpha"},
                "fid_threshold": {"select_fid": "fid_threshold"},
                "unlabeled_ratio": {"select_all": "unlabeled_ratio"},
                "fda_beta": {"train_fda": fda_space},
            },
            objective="target_infomax",
            baseline="1.1",
        )


RATIO = 1600 / 5950
"""Unlabeled images for each labeled one, in experiments 4 to 8."""


def real() -> SelfTraining:
    """The thesis's settings, as far as it gives any; CamVid's 701 images are ``images/all``, in any folders."""
    study = real_study()
    return SelfTraining(
        study,
        camvid="images/all",
        pool=study.real["night"],
        loop=study.segmenter.loop,
        his={"scorer": "histogram", "lower": 15.0, "threshold": 20.0, "unlabeled_ratio": RATIO},
        fid={"scorer": "frechet_dirac", "quantile": 0.107, "unlabeled_ratio": RATIO},
        beta=0.01,
        pooled=dict(study.data),
    )


def toy_city() -> SelfTraining:
    """64×128, 400 + 200 steps; a pool of 1600 images, 2.5 for each labeled one, less than half of them truly night.

    Half of ``night_translation``'s steps, so that all arms and seeds fit an afternoon of two cores; the segmenter whose
    features the translators look at has them all, as there.
    """
    study = toy_study()
    images = dict.fromkeys(DOMAINS, IMAGES)
    pooled = CityConfig.model_validate({"images": images, "night_pool": True, "pool_ratio": 5.0, "pairs": 130})
    city = dict.fromkeys(("height", "width", "city_seed"), "city")
    # Labeled days are read here by arms that see the pool: the same as the others' days.
    study.stages["city_pool"] = Stage("city_pool", "toy_city", pooled, follows={**city, "images": "city"})
    held_out = CityConfig(images=dict.fromkeys(("day", "night"), HELD_OUT))
    study.stages["city_held_out"] = Stage("city_held_out", "toy_city", held_out, follows=city)
    return SelfTraining(
        study,
        # 78 images by day, .24 for each labeled one, as CamVid's 701 are of 2975.
        camvid="toy_city/day_pairs",
        pool="toy_city/night_pool",
        loop=study.segmenter.loop.model_copy(update={"steps": 400, "score_every_steps": 100}),
        # From a tenth to eight tenths of the way through the brightness of ``night_train``.
        his={"scorer": "histogram", "lower": 20.0, "threshold": 30.0, "unlabeled_ratio": RATIO},
        fid={"scorer": "frechet_dirac", "quantile": 0.107, "unlabeled_ratio": RATIO},
        beta=0.05,
        pooled={"toy_city": "city_pool"},
        held_out={"night_test": "night_held_out", "day_test": "day_held_out"},
    )


def camvid() -> SelfTraining:
    """Photographs at 96×128, 320 + 160 steps; every arm's unlabeled images are of ``dusk_adapt``, 62 of one drive.

    They are no pool to take a tenth of: ``fid`` takes the nearer half, ``his`` leaves out the darkest and brightest.
    """
    study = camvid_study()
    return SelfTraining(
        study,
        camvid=study.night_unlabeled,
        pool=study.night_unlabeled,
        loop=study.segmenter.loop,
        his={"scorer": "histogram", "lower": 21.0, "threshold": 26.0},
        fid={"scorer": "frechet_dirac", "quantile": 0.5},
        beta=0.05,
    )


PRESETS = {
    "toy_city": lambda: toy_city().experiment("toy_city", fda_space="fda_beta_small"),
    "camvid": lambda: camvid().experiment("camvid", fda_space="fda_beta_small"),
    "real": lambda: scored_at_label_size(real().experiment("real", fda_space="fda_beta")),
}
