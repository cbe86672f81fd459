import re
import sys
from dataclasses import replace

import pytest

from orchestrator.experiments import EXPERIMENTS, build, presets
from orchestrator.experiments.camvid import camvid
from orchestrator.graph import Arm, Evaluation, Experiment, canonical, plan
from tests.orchestrator import fakes
from tests.orchestrator.fakes import keys, stage, study

pytestmark = pytest.mark.usefixtures("fake_methods")


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


DOWNSTREAM = {"train", "val@best", "val@final"}


def test_the_same_content_has_the_same_key():
    assert keys(study()) == keys(study())
    assert len(set(keys(study()).values())) == 5


def test_a_key_is_the_known_hash_of_the_canonical_content():
    """A change of these literals makes every artifact of every user a miss."""
    content = (
        '{"config":{"batch_norm":"frozen","inner":{"weight":0.5},"split":"camvid/day_val","tag":"train","value":7},'
        '"data":{"camvid/day_val":"bytes of camvid/day_val"},"inputs":{},"method":"fake","seed":3,"version":1}'
    )
    one = stage("train", value=7, split="camvid/day_val")
    stages = {"train": one, **{f"val@{which}": stage(f"val@{which}") for which in ("best", "final")}}
    stages = {name: replace(each, inputs={"of": "train"} if "@" in name else {}) for name, each in stages.items()}
    experiment = Experiment("tiny", "", "fake", stages, study().arms, {}, "source_miou")
    planned = plan(
        experiment, experiment.arms["plain"], seeds=fakes.Seeds(0, 3, "declared"), fingerprints=fakes.fingerprint
    )["train"]
    assert canonical(planned.content) == content
    assert planned.key == "6a63913ebc1fddf5491355038a2d166a"


def test_a_field_changes_its_stage_and_what_comes_after_it():
    assert changed(keys(study()), keys(study(train={"value": 1}))) == DOWNSTREAM
    assert changed(keys(study()), keys(study(train={"inner": {"weight": 0.6}}))) == DOWNSTREAM
    assert changed(keys(study()), keys(study(source={"value": 1}))) == {"source", "translate", *DOWNSTREAM}


def test_a_version_changes_the_keys_of_its_method_only(monkeypatch):
    before = keys(study())
    monkeypatch.setattr(sys.modules["fakes.fake_config"], "VERSION", 2)
    assert changed(before, keys(study())) == DOWNSTREAM


def test_another_input_of_the_same_config_is_another_key():
    base = study()
    rewired = replace(base.stages["train"], inputs={"data": "source"})
    assert changed_train(base, rewired)
    renamed = replace(base.stages["train"], inputs={"images": "translate"})
    assert changed_train(base, renamed)


def changed_train(base, train):
    after = keys(replace(base, stages={**base.stages, "train": train}))
    return keys(base)["train"] != after["train"]


def test_a_fingerprint_changes_the_key_and_a_path_or_name_does_not():
    base = study(train={"split": "camvid/day_val"})
    other = keys(base, fingerprints=lambda split: "other bytes")
    assert changed(keys(base), other) == DOWNSTREAM
    renamed = replace(base, name="another", summary="of another name")
    assert keys(renamed) == keys(base)


def test_a_split_that_an_input_provides_asks_for_no_fingerprint():
    made = replace(study().stages["train"], config=fakes.Config(split="camvid/day_val"), inputs={"camvid": "translate"})
    base = replace(study(), stages={**study().stages, "train": made})

    def refuse(split):
        raise AssertionError(f"{split} is made by a stage")

    assert keys(base, fingerprints=refuse)


def test_runtime_fields_and_the_number_of_workers_change_nothing():
    assert keys(study(train={"speed": 9, "pause_seconds": 1.0})) == keys(study())
    assert keys(study(), workers=2) == keys(study())


def test_local_batch_norm_makes_the_number_of_workers_part_of_the_key():
    local = study(train={"batch_norm": "local"})
    assert keys(local, workers=1) == keys(local)
    assert changed(keys(local), keys(local, workers=2)) == DOWNSTREAM
    assert changed(keys(local, workers=2), keys(local, workers=4)) == DOWNSTREAM


def test_auto_precision_is_decided_before_hashing():
    experiment = camvid()
    auto = keys(experiment, "supervised", device_type="cpu")
    config = experiment.stages["train"].config
    float32 = experiment.with_configs({"train": config.model_copy(update={"precision": "float32"})})
    assert keys(float32, "supervised", device_type="cuda") == auto
    assert keys(experiment, "supervised", device_type="cuda")["train"] != auto["train"]


@pytest.mark.parametrize(
    ("scope", "by_trial", "by_sweep"),
    [
        ("declared", {"train"}, {"translate"}),
        ("last", {"train"}, {"translate"}),
        ("all", {"translate", "train"}, set()),
    ],
)
def test_the_scope_says_which_stages_follow_the_seed_of_the_trial(scope, by_trial, by_sweep):
    def seeds(**which):
        planned = plan(
            study(),
            study().arms["plain"],
            seeds=fakes.Seeds(which.get("sweep", 0), which.get("trial", 0), scope),
            fingerprints=fakes.fingerprint,
        )
        return {name: one.seed for name, one in planned.items()}

    base = seeds()
    assert base["source"] is None
    assert base["val@best"] is None
    assert changed(base, seeds(trial=5)) == by_trial
    assert changed(base, seeds(sweep=5)) == by_sweep


def test_last_holds_earlier_trainings_at_the_seed_of_the_sweep():
    base = study()
    stages = {**base.stages, "train": replace(base.stages["train"], inputs={"data": "second"})}
    chained = replace(base, stages=stages)
    assert changed(keys(chained, scope="last"), keys(chained, scope="last", seed=4)) == DOWNSTREAM
    assert changed(keys(chained), keys(chained, seed=4)) == {"second", *DOWNSTREAM}


def test_a_cycle_is_named():
    base = study()
    stages = {**base.stages, "source": replace(base.stages["source"], inputs={"data": "train"})}
    with pytest.raises(ValueError, match=r"depend on each other: .*train → translate → source → train"):
        keys(replace(base, stages=stages))


def test_upstream_lists_inputs_first_and_nothing_else():
    names = study().upstream(["val@best"])
    assert names == ["source", "translate", "train", "val@best"]


def test_trials_are_named_by_arm_configuration_and_seed(tmp_path):
    first = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.3})
    assert re.fullmatch(r"t[0-9a-f]{10}", first.id)
    assert re.fullmatch(r"c[0-9a-f]{10}", first.config_hash)
    same = fakes.trial(tmp_path / "elsewhere", varied={"train.loss.alpha": 0.3}, threads=7)
    assert (same.id, same.config_hash) == (first.id, first.config_hash)
    seed = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.3}, seed=1)
    assert seed.config_hash == first.config_hash
    assert seed.id != first.id
    scope = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.3}, scope="all")
    assert scope.id != first.id
    field = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.4})
    assert field.config_hash != first.config_hash
    data = fakes.camvid_trial(tmp_path)
    other_data = fakes.camvid_trial(tmp_path, fingerprints=dict.fromkeys(data.place.fingerprints, "x"))
    assert data.config_hash != other_data.config_hash


def test_an_arm_needs_both_checkpoints_of_every_evaluation():
    arm = Arm("a", "train", (Evaluation("val", "select"),), source="val", target_unlabeled="night", target="val")
    assert arm.stages() == ["val@best", "val@final", "night@best", "night@final"]


def test_the_baseline_of_a_study_is_one_of_its_arms():
    studies = [build(name, preset) for name in EXPERIMENTS for preset in presets(name)]
    compared = {study.name: study.baseline for study in studies if study.baseline is not None}
    assert {"game_to_day", "bimix", "night_self_training", "label_balancing"} <= set(compared)
    assert all(study.baseline in study.arms for study in studies if study.name in compared)
