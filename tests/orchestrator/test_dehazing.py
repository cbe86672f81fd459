"""The graph of dehazing: what its arms differ in, what they are measured by, and what nobody looks at."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.explain import unseeded
from orchestrator.graph import CHECKPOINTS, Experiment, Planned, Seeds, plan
from orchestrator.launch import run_in_process
from orchestrator.leakage import check_targets
from orchestrator.preflight import check_methods
from orchestrator.record import score_rows
from orchestrator.trial import QUALITIES, Place, Trial
from results.schema import COLUMNS
from tests.trainers.data.miniatures import cityscapes, foggy_cityscapes
from trainers.config import walk
from trainers.data.datasets import DataSplit
from trainers.errors import UserError
from trainers.registry import method


@pytest.fixture(params=["toy_city", "real"])
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("dehazing", request.param)


def planned(study: Experiment, arm: str, *, seed: int = 0) -> dict[str, Planned]:
    return plan(study, study.arms[arm], seeds=Seeds(0, seed, "declared"), fingerprints=str)


def test_the_arms_add_one_loss_after_the_other(study: Experiment):
    configs: dict[str, Any] = {name: study.stages[f"dfs_{name}"].config for name in list(study.arms)[1:]}
    weights = {name: tuple(config.weights.model_dump().values()) for name, config in configs.items()}
    assert weights == {"pixel": (1, 10, 0, 0), "perceptual": (1, 10, 10, 0), "segmentation": (1, 10, 10, 10)}
    same = configs["pixel"].weights
    assert len({config.model_copy(update={"weights": same}).model_dump_json() for config in configs.values()}) == 1


def test_every_arm_scores_one_segmenter_on_its_own_dehazed_images(study: Experiment):
    segmenters = set()
    for name in list(study.arms)[1:]:
        stages = planned(study, name)
        segmenters.add(stages["segmenter"].key)
        assert study.arms[name].train == f"dfs_{name}"
        for one in study.arms[name].evaluations:
            for checkpoint in CHECKPOINTS:
                scored = stages[one.stage(checkpoint)]
                dehazed = stages[f"{name}:{one.name}:dehazed@{checkpoint}"]
                assert scored.content["inputs"]["translated"] == dehazed.key
                assert scored.content["inputs"]["segmenter"] == stages["segmenter"].key
                assert dehazed.content["inputs"]["translator"] == stages[f"dfs_{name}"].key
                assert (dehazed.config.checkpoint, scored.config.checkpoint) == (checkpoint, "best")
                (quality,) = one.measures(checkpoint)
                assert stages[quality].content["inputs"]["translated"] == dehazed.key
    assert len(segmenters) == 1
    assert set(QUALITIES) <= {column.name for column in COLUMNS}


def test_the_same_hazy_images_are_scored_with_and_without_dehazing(study: Experiment):
    before = study.arms["no_dehazing"]
    after = study.arms["segmentation"]
    names = [one.name for one in after.evaluations]
    assert [one.name for one in before.evaluations] == [*names, "clear"]
    for name in names:
        hazy = study.stages[f"no_dehazing:{name}@best"].config.split
        assert study.stages[f"segmentation:{name}:dehazed@best"].config.test == hazy
        pairs = [study.stages[f"{arm}:{name}:quality@best"].config for arm in ("no_dehazing", "segmentation")]
        assert (pairs[0].split, str(pairs[1].split)) == (hazy, "translated/test")
        assert pairs[0].reference == pairs[1].reference


def test_nothing_that_is_reported_trains_or_selects(study: Experiment):
    for arm in study.arms.values():
        base = study.arms["no_dehazing"]
        reported = {
            str(study.stages[one.stage("best")].config.split) for one in base.evaluations if one.role == "report"
        }
        for name in study.upstream([arm.train]):
            read = {str(item) for item in walk(study.stages[name].config) if isinstance(item, DataSplit)}
            assert not read & reported, name
    check_targets(study, study.arms.values(), {})


def test_images_are_dehazed_at_the_size_that_chose_the_checkpoint():
    study = build("dehazing", "real")
    trained = study.stages["dfs_pixel"].config
    made = study.stages["pixel:fog_0.01:dehazed@best"].config
    assert (made.inference_height, made.inference_width) == (trained.height, trained.width)


def test_methods_accept_their_sources(study: Experiment):
    for stage in study.stages.values():
        module = method(stage.method).load()
        if hasattr(module, "check_sources"):
            module.check_sources(stage.config, {role: study.stages[name].config for role, name in stage.inputs.items()})
    check = method("dfs").load().check_sources
    with pytest.raises(UserError, match=r"weights\.segmentation and select_by=miou need an input `segmenter`"):
        check(study.stages["dfs_pixel"].config, {})


def test_the_real_preset_has_the_release_s_settings():
    study = build("dehazing", "real")
    dfs: Any = study.stages["dfs_segmentation"].config
    assert (dfs.batch_size, str(dfs.features), dfs.generator.depth, dfs.generator.width) == (8, "vgg16@relu2_2", 8, 64)
    assert (dfs.optimizer.learning_rate, dfs.optimizer.beta1, dfs.optimizer.weight_decay) == (2e-4, 0.5, 0.0)
    assert dfs.loop.steps == pytest.approx(100 * 3 * 1487 / 8, rel=1e-3)
    names = [one.name for one in study.arms["pixel"].evaluations]
    assert names == ["fog_select", "fog_0.005", "fog_0.01", "fog_0.02"]


def test_a_segmenter_of_the_same_places_is_refused_before_anything_runs(tmp_path: Path):
    """Clear partners count, whatever the hazy images look like; here all three of both."""
    study = build("dehazing", "real")
    roots = {"cityscapes": cityscapes(tmp_path / "c"), "foggy_cityscapes": foggy_cityscapes(tmp_path / "f")}
    for number, path in enumerate(sorted(tmp_path.rglob("*leftImg8bit*.png"))):
        path.write_bytes(path.read_bytes() + bytes([number]))  # Else all miniatures would be one image.
    config = study.stages["dfs_segmentation"].config
    small = {"source": "foggy_cityscapes/train_beta_0.01:-2", "more_sources": (), "select_target": "cityscapes/train"}
    small["select"] = "foggy_cityscapes/train_beta_0.01:1"
    dfs = type(config).model_validate({**config.model_dump(), **small})
    check = method("dfs").load().check_segmenter_apart
    check(dfs, [DataSplit.model_validate("cityscapes/train:1")], roots)
    with pytest.raises(
        UserError, match=r"the segmenter's cityscapes/train:2 shares 1 image\(s\) with the hazy or clear"
    ):
        check(dfs, [DataSplit.model_validate("cityscapes/train:2")], roots)


def tiny() -> Experiment:
    """The same graph, a few images and steps."""
    study = build("dehazing", "toy_city")
    parts = {"train": 3, "val": 2, "test": 2}
    changes: dict[str, dict[str, Any]] = {
        "city": {"height": 32, "width": 64, "images": {"day": parts, "fog": parts}},
        "segmenter": {"height": 32, "width": 64, "loop": {"steps": 1}},
    }
    for name in list(study.arms)[1:]:
        changes[f"dfs_{name}"] = {"height": 32, "width": 64, "generator": {"width": 4, "depth": 4}, "batch_size": 2,
                                  "discriminator": {"width": 4}, "loop": {"steps": 1}}  # fmt: skip
    configs = {}
    for name, change in changes.items():
        config = study.stages[name].config
        configs[name] = type(config).model_validate({**config.model_dump(), **change})
    return study.with_configs(configs)


@pytest.mark.integration
def test_the_whole_graph_runs_and_its_rows_hold_the_qualities(tmp_path: Path):
    study = tiny()
    place = Place(storage=tmp_path, roots={}, fingerprints={})
    rows = {}
    for name in ("no_dehazing", "segmentation"):
        trial = Trial.of(study, study.arms[name], {}, Seeds(0, 0, "declared"), place)
        check_methods(trial)
        outcome = run_in_process(trial, lambda event: None)
        assert outcome.status == "finished", outcome.message
        for row in score_rows(trial, outcome, sweep="s", attempt=1):
            rows[name, row["evaluation_set"], row["checkpoint"]] = row
    for name, others in (("no_dehazing", {"clear"}), ("segmentation", set())):
        assert {evaluation for arm, evaluation, _ in rows if arm == name} == {"fog_select", "fog"} | others
        for evaluation in ("fog_select", "fog"):
            row = rows[name, evaluation, "final"]
            assert row["psnr"] > 0
            assert 0 <= row["iiou"] <= 1
            assert -1 < row["ssim"] < 1
            assert row["miou"] is not None
    assert rows["no_dehazing", "clear", "best"]["psnr"] is None
    assert rows["no_dehazing", "fog", "best"]["psnr"] != rows["segmentation", "fog", "best"]["psnr"]


def test_generators_follow_the_seed_of_a_trial_and_their_segmenter_does_not(tmp_path: Path):
    study = build("dehazing", "toy_city")
    place = Place(storage=tmp_path, roots={}, fingerprints={})
    first, second = (Trial.of(study, study.arms["pixel"], {}, Seeds(0, seed, "declared"), place) for seed in (0, 1))
    moved = {name for name, one in first.planned.items() if one.key != second.planned[name].key}
    assert {"dfs_pixel", "pixel:fog@best"} <= moved
    assert not {"city", "segmenter"} & moved
    plain = [Trial.of(study, study.arms["no_dehazing"], {}, Seeds(0, seed, "declared"), place) for seed in (0, 1)]
    assert unseeded([first, second, *plain]) == ["no_dehazing"]
    assert unseeded([first, *plain[:1]]) == []
