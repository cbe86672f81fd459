import pytest

from orchestrator.artifacts import Store
from orchestrator.explain import describe_fields, status_of_stages
from orchestrator.graph import Seeds
from orchestrator.trial import Trial
from tests.orchestrator import fakes


def publish(trial, name, *, seconds=1.0):
    store, one = Store(trial.place.storage), trial.planned[name]
    output = store.partial(one.key) / "output"
    output.mkdir(parents=True)
    store.publish(output, method=one.method.name, key=one.key, content=one.content, result={}, seconds=seconds)


def statuses(trial):
    return {status.name: status for status in status_of_stages(trial)}


def test_without_any_artifact_every_stage_is_a_miss_of_unknown_cost(tmp_path):
    found = statuses(fakes.trial(tmp_path))
    assert list(found)[:2] == ["city", "train"]
    assert {status.hit for status in found.values()} == {False}
    assert found["train"].why == "no artifact of supervised yet"
    assert found["train"].seconds is None
    assert found["train"].inputs == ["city"]


def test_a_hit_says_when_it_was_made_and_what_it_took(tmp_path):
    trial = fakes.trial(tmp_path)
    publish(trial, "city", seconds=7.5)
    city = statuses(trial)["city"]
    assert city.hit
    assert city.why.startswith("made 2")
    assert city.seconds == 7.5


def test_a_miss_names_the_field_and_both_values(tmp_path):
    publish(fakes.trial(tmp_path, varied={"train.loss.alpha": 0.5}), "train")
    wanted = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.25})
    publish(wanted, "city")
    assert statuses(wanted)["train"].why == "loss.alpha 0.25 (nearest has 0.5)"


def test_the_nearest_artifact_is_the_one_with_the_fewest_differences(tmp_path):
    far = {"train.loss.alpha": 0.25, "train.loss.gamma": 3.0, "train.batch_size": 2}
    publish(fakes.trial(tmp_path, varied=far), "train")
    publish(fakes.trial(tmp_path, varied={"train.batch_size": 8}), "train")
    wanted = fakes.trial(tmp_path)
    publish(wanted, "city")
    assert statuses(wanted)["train"].why == "batch_size 4 (nearest has 8)"


def test_a_seed_and_an_input_are_named(tmp_path):
    publish(fakes.trial(tmp_path), "train")
    missing_city = statuses(fakes.trial(tmp_path, varied={"city.city_seed": 3}, seed=1))["train"]
    assert missing_city.why == "input city is missing; seed 1 (nearest has 0)"
    wanted = fakes.trial(tmp_path, varied={"city.city_seed": 3})
    publish(wanted, "city")
    assert statuses(wanted)["train"].why == "input city is another one"


def test_changed_data_is_named(tmp_path):
    publish(fakes.camvid_trial(tmp_path), "train")
    fingerprints = {**fakes.place(tmp_path).fingerprints, "camvid/day_val": "other bytes"}
    why = statuses(fakes.camvid_trial(tmp_path, fingerprints=fingerprints))["train"].why
    assert why == "data camvid/day_val changed"


def test_a_new_version_is_named(tmp_path, monkeypatch):
    from trainers.segmentation import supervised_config

    publish(fakes.trial(tmp_path), "train")
    version = supervised_config.VERSION
    monkeypatch.setattr(supervised_config, "VERSION", version + 1)
    wanted = fakes.trial(tmp_path)
    publish(wanted, "city")
    assert statuses(wanted)["train"].why == f"version {version + 1} (nearest has {version})"


def test_many_differences_are_counted(tmp_path):
    publish(fakes.trial(tmp_path), "train")
    varied = {
        "train.loss.alpha": 0.1,
        "train.loss.gamma": 1.0,
        "train.batch_size": 2,
        "train.height": 32,
        "train.optimizer.momentum": 0.5,
        "train.optimizer.learning_rate": 0.5,
    }
    wanted = fakes.trial(tmp_path, varied=varied)
    publish(wanted, "city")
    assert statuses(wanted)["train"].why.endswith("; and 2 more")


def test_the_cost_is_scaled_by_the_steps(tmp_path):
    publish(fakes.trial(tmp_path, varied={"train.loop.steps": 200}), "train", seconds=30.0)
    found = statuses(fakes.trial(tmp_path, varied={"train.loop.steps": 500}))
    assert found["train"].seconds == pytest.approx(75.0)
    same = statuses(fakes.trial(tmp_path, varied={"train.loss.alpha": 0.1}))
    assert same["train"].seconds == pytest.approx(30.0)


@pytest.mark.usefixtures("fake_methods")
def test_a_stage_without_steps_costs_what_the_nearest_did(tmp_path):
    study = fakes.study()
    trial = Trial(study, study.arms["plain"], {}, Seeds(0, 0, "declared"), fakes.place(tmp_path))
    publish(trial, "source", seconds=3.0)
    changed = fakes.study(source={"value": 1})
    other = Trial(changed, changed.arms["plain"], {}, Seeds(0, 0, "declared"), fakes.place(tmp_path))
    source = statuses(other)["source"]
    assert source.seconds == 3.0
    assert source.why == "value 1 (nearest has 0)"


def test_every_field_has_a_meaning():
    for experiment in (fakes.toy_city(), fakes.camvid()):
        for stage in experiment.stages.values():
            for name, _, meaning in describe_fields(stage.config):
                assert meaning, f"{stage.name}.{name}"
    names = [name for name, _, _ in describe_fields(fakes.toy_city().stages["train"].config)]
    assert "loss.alpha" in names
    assert "loss" not in names
