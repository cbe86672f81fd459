"""The graph of label_to_image: who judges, what the generator sees, and what nobody looks at before the report."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.graph import Experiment, Planned, Seeds, plan
from orchestrator.launch import run_in_process
from orchestrator.record import score_rows
from orchestrator.trial import Place, Trial
from trainers.config import walk
from trainers.data.datasets import DataSplit
from trainers.registry import method


@pytest.fixture(params=["toy_city", "real"])
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("label_to_image", request.param)


def planned(study: Experiment, *, seed: int = 0) -> dict[str, Planned]:
    return plan(study, study.arms["pix2pixhd"], seeds=Seeds(0, seed, "declared"), fingerprints=str)


def test_one_segmenter_of_real_images_judges_generated_and_real_ones(study: Experiment):
    stages = planned(study)
    (arm,) = study.arms.values()
    assert {one.name for one in arm.evaluations} == {"generated_val", "generated_test", "real_test"}
    for one in arm.evaluations:
        for checkpoint in ("best", "final"):
            content = stages[one.stage(checkpoint)].content["inputs"]
            assert content["segmenter"] == stages["segmenter"].key
            assert ("translated" in content) == one.name.startswith("generated")
    generated: Any = study.stages["generated"].config
    real: Any = study.stages["real_test@best"].config
    assert generated.test == real.split
    assert {str(study.stages[f"generated_{part}@best"].config.split) for part in ("val", "test")} == {
        "translated/val", "translated/test"
    }  # fmt: skip


def test_the_judge_is_the_same_for_every_seed_and_the_generator_is_not(study: Experiment):
    first, second = (planned(study, seed=seed) for seed in (0, 1))
    assert first["segmenter"].key == second["segmenter"].key
    assert first["pix2pixhd"].key != second["pix2pixhd"].key
    assert first["real_test@best"].key == second["real_test@best"].key
    assert first["generated_test@best"].key != second["generated_test@best"].key


def test_what_is_reported_or_selected_by_trains_nothing(study: Experiment):
    generated: Any = study.stages["generated"].config
    held = {str(generated.val), str(generated.test)}
    for name in ("segmenter", "pix2pixhd"):
        trained = {str(one) for one in walk(study.stages[name].config) if isinstance(one, DataSplit)}
        selected = {str(getattr(study.stages[name].config, "select", None))}
        assert not (trained - selected) & held
        assert str(generated.test) not in trained


def test_the_generator_does_not_learn_to_please_its_judge(study: Experiment):
    stages = planned(study)
    features: Any = study.stages["pix2pixhd"].config
    if features.features[0].needs_input():
        judge, taught = stages["segmenter"], stages["features_segmenter"]
        assert stages["pix2pixhd"].content["inputs"]["segmenter"] == taught.key != judge.key
        assert str(taught.config.train[0]) == "toy_city/game_train"
    for stage in study.stages.values():
        module = method(stage.method).load()
        if hasattr(module, "check_sources"):
            module.check_sources(stage.config, {role: study.stages[name].config for role, name in stage.inputs.items()})


def test_the_real_preset_has_the_release_s_settings():
    config: Any = build("label_to_image", "real").stages["pix2pixhd"].config
    assert (config.height, config.width, config.batch_size) == (512, 1024, 1)
    assert (config.generator.width, config.generator.downsamplings, config.generator.blocks) == (64, 4, 9)
    assert (config.generator.label_nc, config.generator.edges) == (35, True)
    assert (config.discriminator.scales, config.discriminator.layers) == (2, 3)
    assert config.loop.steps == 200 * 2775
    assert [str(one) for one in config.features] == [f"vgg19@relu{block}_1" for block in range(1, 6)]
    split = build("label_to_image", "real").stages["generated"].config
    assert (split.inference_height, split.inference_width) == (512, 1024)


def test_the_toy_preset_shares_both_segmenters_with_the_toy_city_study():
    ours, theirs = planned(build("label_to_image")), build("toy_city")
    other = {
        domain: plan(theirs, theirs.arms[domain], seeds=Seeds(0, 0, "declared"), fingerprints=str)
        for domain in ("day", "game")
    }
    assert ours["segmenter"].key == other["day"]["train_day"].key
    assert ours["features_segmenter"].key == other["game"]["train_game"].key
    config: Any = ours["pix2pixhd"].config
    assert (config.generator.width, config.height, config.width, config.loop.steps) == (16, 64, 128, 2000)
    assert config.generator.stride() == 2


@pytest.mark.integration
def test_the_whole_graph_runs_and_its_rows_hold_both_scores(tmp_path: Path):
    study = build("label_to_image", "toy_city")
    parts = {"train": 3, "val": 2, "test": 2}
    changes: dict[str, dict[str, Any]] = {
        "city": {"images": {"day": parts, "game": parts}},
        "segmenter": {"loop": {"steps": 1}},
        "features_segmenter": {"loop": {"steps": 1}},
        "pix2pixhd": {"generator": {"width": 8, "blocks": 1}, "discriminator": {"width": 4}, "loop": {"steps": 1}},
    }
    configs = {}
    for name, change in changes.items():
        config = study.stages[name].config
        configs[name] = type(config).model_validate({**config.model_dump(), **change})
    study = study.with_configs(configs)
    place = Place(storage=tmp_path, roots={}, fingerprints={})
    trial = Trial.of(study, study.arms["pix2pixhd"], {}, Seeds(0, 0, "declared"), place)
    outcome = run_in_process(trial, lambda event: None)
    assert outcome.status == "finished", outcome.message
    rows = {(row["evaluation_set"], row["checkpoint"]): row
            for row in score_rows(trial, outcome, sweep="s", attempt=1)}  # fmt: skip
    assert len(rows) == 6
    generated, real = rows["generated_test", "final"], rows["real_test", "final"]
    assert generated["images"] == real["images"] == 2
    assert generated["confusion"] != real["confusion"]
    assert sum(generated["confusion"]) == sum(real["confusion"])
