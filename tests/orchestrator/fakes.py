"""Methods without torch whose work can be read off files, and a study that is made of them."""

import json
import os
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from orchestrator.artifacts import Store
from orchestrator.execute import Walk
from orchestrator.experiments.camvid import camvid
from orchestrator.experiments.demo import toy_city
from orchestrator.graph import Arm, Evaluation, Experiment, Seeds, Stage, plan
from orchestrator.records import SCHEMA_VERSION, sealed
from orchestrator.trial import Outcome, Place, Trial
from trainers import registry
from trainers.config import Config as BaseConfig
from trainers.config import added_field, runtime_field
from trainers.data.datasets import DataSplit
from trainers.data.fingerprint import hash_file
from trainers.errors import MethodWarning

SEED_FROM = {"fake": "trial", "fake_shared": "sweep", "fake_plain": None}


class Inner(BaseConfig):
    """A part of the configuration."""

    weight: float = 0.5


class Config(BaseConfig):
    """What the fake methods take."""

    tag: str = "tag"
    value: int = 0
    steps: int = added_field(0)
    inner: Inner = Inner()
    batch_norm: Literal["local", "frozen"] = "frozen"
    split: DataSplit | None = None
    speed: int = runtime_field(1)
    pause_seconds: float = runtime_field(0.0)


def check(config, inputs):
    """Nothing is refused."""


def run(config, inputs, output, seed, context):
    """Write down that it ran; fail or dawdle where a test wants it."""
    storage = output.parents[2]
    with (storage / "calls.txt").open("a") as calls:
        calls.write(f"{config.tag} {os.getpid()}\n")
    (output / "value.txt").write_text(f"{config.tag} {config.value} {seed} {sorted(inputs)}")
    if (storage / f"fail-{config.tag}").exists():
        raise RuntimeError(f"{config.tag} was told to fail")
    if (storage / f"warn-{config.tag}").exists():
        warnings.warn(f"{config.tag} has value {config.value}", MethodWarning, stacklevel=2)
    context.report({"step": 1.0, "steps": 1.0})
    time.sleep(config.pause_seconds)
    return {"value": config.value} | ({"steps": config.steps} if config.steps else {})


def install(methods, modules):
    """Register the fake methods in ``methods`` and ``sys.modules`` (or what a test restores afterwards)."""
    for name, seed_from in SEED_FROM.items():
        methods[name] = f"fakes.{name}"
        modules[f"fakes.{name}"] = SimpleNamespace(check=check, run=run)
        modules[f"fakes.{name}_config"] = SimpleNamespace(Config=Config, VERSION=1, SEED_FROM=seed_from)


def stage(name, method="fake", inputs=(), **values):
    return Stage(name, method, Config(tag=name, **values), dict(inputs))


def study(**values):
    """source → translate → train → val@best, val@final, and ``second`` beside ``train``; ``stage={field: value}``."""
    stages = [
        stage("source", "fake_plain", **values.get("source", {})),
        stage("translate", "fake_shared", {"images": "source"}, **values.get("translate", {})),
        stage("train", "fake", {"data": "translate"}, **values.get("train", {})),
        stage("second", "fake", {"data": "translate"}, **values.get("second", {})),
    ]
    for name, train in (("val", "train"), ("other", "second")):
        stages += [stage(f"{name}@{which}", "fake_plain", {"segmenter": train}) for which in ("best", "final")]
    arms = {
        name: Arm(name, train, (Evaluation(split, "select"),), source=split, target_unlabeled=split, target=split)
        for name, train, split in (("plain", "train", "val"), ("twice", "second", "other"))
    }
    return Experiment(
        name="study",
        summary="",
        preset="fake",
        stages={one.name: one for one in stages},
        arms=arms,
        searches={},
        objective="source_miou",
    )


def fingerprint(split):
    return f"bytes of {split}"


def keys(experiment, arm="plain", *, seed=0, sweep_seed=0, scope="declared", **options):
    """Stage → key."""
    options.setdefault("fingerprints", fingerprint)
    planned = plan(experiment, experiment.arms[arm], seeds=Seeds(sweep_seed, seed, scope), **options)
    return {name: one.key for name, one in planned.items()}


def walk(storage, experiment=None, *, arm="plain", seed=0, observe=None, ends=None, store=None):
    """One walk over an arm in this process; the reports of its stages."""
    from trainers.context import PlainContext

    experiment = experiment or study()
    planned = plan(experiment, experiment.arms[arm], seeds=Seeds(0, seed, "declared"), fingerprints=fingerprint)
    storage.mkdir(parents=True, exist_ok=True)
    walking = Walk(
        planned,
        store or Store(storage),
        {},
        lambda folder, *, on_report, guard: PlainContext(folder, on_report=on_report, guard=guard),
        observe or (lambda event: None),
    )
    return walking.run(ends or experiment.arms[arm].stages())


SCORE = {
    "step": 10, "class_set": "cityscapes19", "images": 4, "height": 64, "width": 128, "miou": 0.5, "miou_zeros": 0.5,
    "pixel_accuracy": 0.5, "class_accuracy": 0.5, "fwiou": 0.5, "iou": {"road": 0.5}, "confusion": [1] * 361,
}  # fmt: skip
"""What a row needs of an evaluation."""


def seal(folder, **content):
    """Make a folder at its place in a storage an artifact, whatever has been changed in it."""
    files = {
        path.relative_to(folder).as_posix(): hash_file(path, full=True)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = {
        "schema_version": SCHEMA_VERSION, "method": folder.parent.name, "key": folder.name, "content": content,
        "result": {}, "seconds": 1.0, "created_utc": "2026-11-20T00:00:00+00:00", "files": files,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


def calls(storage):
    """The tags of all stages that ran, in order, whatever process ran them."""
    path = storage / "calls.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def place(storage, **changes):
    """A place with the fingerprints of CamVid's splits, none of them real."""
    splits = ("day_train", "day_val", "dusk_adapt", "dusk_val")
    fingerprints = {f"camvid/{split}": f"bytes of {split}" for split in splits}
    return Place(**{"storage": Path(storage), "roots": {}, "fingerprints": fingerprints} | changes)


def trial(storage, *, experiment=None, varied=None, seed=0, scope="last", **changes) -> Trial:
    """A trial of the demo experiment (or another one with a single arm)."""
    experiment = experiment or toy_city()
    arm = next(iter(experiment.arms.values()))
    return Trial.of(experiment, arm, varied or {}, Seeds(0, seed, scope), place(storage, **changes))


def camvid_trial(storage, **options) -> Trial:
    return trial(storage, experiment=camvid(), **options)


def finished(value, **changes) -> Outcome:
    """An outcome that reached ``value`` on the objective of the demo."""
    return Outcome(**{"status": "finished", "objectives": {"source_miou": value}} | changes)


if __name__ == "__main__":
    import sys

    install(registry.METHODS, sys.modules)
    walk(Path(sys.argv[1]), study(train={"pause_seconds": float(sys.argv[2])}))
