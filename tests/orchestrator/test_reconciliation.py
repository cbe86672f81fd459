"""A sweep that is edited between starts: old results stay, the sampler hears what it can, nothing runs twice."""

from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from orchestrator.ledger import Ledger
from orchestrator.overrides import assign
from orchestrator.search import Search
from orchestrator.trial import Outcome
from tests.orchestrator.fakes import finished
from tests.orchestrator.test_search import ALPHA, drive, new_search
from trainers.errors import UserError

FAILED = Outcome("failed", failure_class="bug", message="RuntimeError: no")
PRUNED = Outcome("pruned", objectives={"source_miou": 0.1}, message="stopped at step 50 of 200")


def edited(search, **changes):
    """The same sweep as it would start after an edit."""
    return Search(replace(search.sweep, **changes), Ledger(search.sweep.place.storage, "one"))


def told(search):
    return [trial for trial in search._study.get_trials() if trial.state == TrialState.COMPLETE]


def test_a_narrower_space_keeps_old_results_and_asks_inside(tmp_path):
    first = new_search(tmp_path, trials=4)
    drive(first)
    again = edited(first, space={"train.loss.alpha": FloatDistribution(0.45, 0.55)}, trials=7)
    assert len(told(again)) == 4
    new = drive(again)
    assert len(new) == 3
    assert all(0.45 <= params["train.loss.alpha"] <= 0.55 for params, _ in new)


def test_a_field_that_is_added_to_the_space_leaves_old_results_told(tmp_path):
    first = new_search(tmp_path, trials=3)
    drive(first)
    wider = {**ALPHA, "train.loss.gamma": FloatDistribution(0.5, 5.0)}
    again = edited(first, space=wider, trials=5)
    assert len(told(again)) == 3
    assert [set(params) for params, _ in drive(again)] == [set(wider)] * 2


def test_categories_that_changed_keep_their_trials_which_the_sampler_does_not_hear(tmp_path):
    name = "train.optimizer.name"
    first = new_search(tmp_path, trials=3, space={**ALPHA, name: CategoricalDistribution(["sgd", "adam"])})
    drive(first)
    again = edited(first, trials=5, space={**ALPHA, name: CategoricalDistribution(["sgd", "adam", "adamw"])})
    assert told(again) == []
    assert len(again.known) == 3
    assert len(drive(again)) == 2


def test_a_logarithm_is_not_told_of_zero(tmp_path):
    first = new_search(tmp_path, trials=3, sampler="grid")  # 0, 0.5, 1
    drive(first)
    space = {"train.loss.alpha": FloatDistribution(0.01, 1.0, log=True)}
    again = edited(first, space=space, sampler="random", trials=5)
    assert sorted(trial.params["train.loss.alpha"] for trial in told(again)) == [0.5, 1.0]
    assert len(drive(again)) == 2


def test_longer_training_makes_new_configurations_and_leaves_the_old_ones_alone(tmp_path):
    first = new_search(tmp_path, trials=3)
    ran = drive(first)
    longer = assign(first.sweep.experiment, {"train.loop.steps": 400})
    again = edited(first, experiment=longer)
    assert told(again) == []
    assert again.known == []
    assert again.total == 3
    new = drive(again)
    assert len(new) == 3
    assert not {str(one) for one in new} & {str(one) for one in ran}
    assert len(again.ledger.outcomes()) == 6


def test_a_runtime_field_changes_no_configuration(tmp_path):
    first = new_search(tmp_path, trials=3)
    drive(first)
    again = edited(first, experiment=assign(first.sweep.experiment, {"train.loader_workers": 2}))
    assert len(again.known) == 3
    assert drive(again) == []


def test_failed_trials_run_again_when_asked_for_and_only_those(tmp_path):
    first = new_search(tmp_path, trials=4)
    ran = drive(first, 2) + drive(first, 1, FAILED) + drive(first)
    again = edited(first, retry=frozenset({"failed"}))
    assert drive(again) == [ran[2]]
    assert [outcome.status for _, outcome, _ in edited(first).known] == ["finished"] * 4
    assert drive(edited(first, retry=frozenset({"failed"}))) == []


def test_one_failed_trial_can_be_named(tmp_path):
    first = new_search(tmp_path, trials=3)
    drive(first, 2, FAILED)
    drive(first)
    names = [trial.id for trial, outcome, _ in edited(first).known if outcome.status == "failed"]
    again = edited(first, retry=frozenset({"failed"}), retry_trial=names[1])
    trial, _ = again.next_trial()
    assert trial.id == names[1]
    assert again.next_trial() is None


def test_a_trial_that_cannot_be_retried_is_refused(tmp_path):
    first = new_search(tmp_path, trials=2)
    drive(first, 1, FAILED)
    drive(first)
    failed, finished_one = (trial.id for trial, _, _ in edited(first).known)
    for name, retry in (("t0", "failed"), (finished_one, "failed"), (failed, "diverged")):
        with pytest.raises(UserError, match=rf"--trial {name}: the sweep one has no {retry} trial of this name"):
            edited(first, retry=frozenset({retry}), retry_trial=name)


def test_the_other_seeds_wait_for_the_first_and_never_run_when_it_was_pruned(tmp_path):
    search = edited(new_search(tmp_path, trials=2, num_seeds=3), first_seed_races=True)
    trial, attempt = search.next_trial()
    other, other_attempt = search.next_trial()
    assert (trial.seeds.trial, other.seeds.trial) == (0, 0)
    search.finish(trial, PRUNED, attempt)
    assert search.next_trial() is None
    search.finish(other, finished(0.5), other_attempt)
    assert [search.next_trial()[0].seeds.trial for _ in range(2)] == [1, 2]
    assert search.next_trial() is None
    assert [trial.value for trial in told(search)] == [0.1], "a pruned configuration is told its score at the rung"


def test_a_restart_remembers_who_was_pruned(tmp_path):
    search = edited(new_search(tmp_path, trials=1, num_seeds=3), first_seed_races=True)
    trial, attempt = search.next_trial()
    search.finish(trial, PRUNED, attempt)
    again = edited(search)
    assert again.next_trial() is None
    assert [trial.value for trial in told(again)] == [0.1]


def test_a_warm_start_tells_what_another_sweep_found_inside_this_space(tmp_path):
    first = new_search(tmp_path, trials=5, num_seeds=2)
    drive(first)
    values = sorted(trial.params["train.loss.alpha"] for trial in told(first))
    low = values[1]
    space = {"train.loss.alpha": FloatDistribution(low, 1.0)}
    other = Search(replace(first.sweep, space=space, warm_start="one", num_seeds=1), Ledger(tmp_path, "two"))
    assert sorted(trial.params["train.loss.alpha"] for trial in told(other)) == values[1:]
    assert other.known == []
    with pytest.raises(UserError, match="no such sweep"):
        Search(replace(first.sweep, warm_start="none"), Ledger(tmp_path, "three"))


def test_after_the_hours_nothing_is_handed_out(tmp_path):
    search = edited(new_search(tmp_path, trials=3), hours=1e-9)
    assert search.next_trial() is None
    assert search.is_out_of_time
    assert len(drive(edited(search, hours=None))) == 3


def test_a_configuration_that_no_stage_accepts_is_named_and_costs_no_trial(tmp_path):
    crop = {"train.augmentation.scale_min": FloatDistribution(1.5, 2.0)}  # Above scale_max, which is 1.
    search = edited(new_search(tmp_path, trials=2), space=crop)
    assert search.next_trial() is None
    assert len(search.invalid) == 2
    assert "scale_min <= scale_max" in search.invalid[0]


def test_two_objectives_are_told_together(tmp_path):
    search = edited(new_search(tmp_path, trials=2), cost="seconds")
    trial, attempt = search.next_trial()
    outcome = replace(finished(0.5), objectives={"source_miou": 0.5, "seconds": 12.0})
    search.finish(trial, outcome, attempt)
    assert [one.values for one in told(search)] == [[0.5, 12.0]]


def test_a_lost_record_of_an_ask_does_not_block_the_next_one(tmp_path):
    drive(new_search(tmp_path, trials=4))
    (Ledger(tmp_path, "one").root / "asked" / "c0001.json").unlink()
    again = new_search(tmp_path, trials=6)
    assert len(drive(again)) == 3
    assert sorted(again.ledger.read("asked")) == ["c0000", "c0002", "c0003", "c0004", "c0005", "c0006"]


def test_a_new_version_of_a_method_makes_new_configurations(tmp_path, monkeypatch):
    first = new_search(tmp_path, trials=2)
    names = {trial.id for trial, _, _ in [(*first.next_trial(), None), (*first.next_trial(), None)]}
    monkeypatch.setattr("trainers.segmentation.supervised_config.VERSION", 99)
    again = new_search(tmp_path / "other", trials=2)
    assert not names & {again.next_trial()[0].id for _ in range(2)}
    assert new_search(tmp_path, trials=2).known == []
    assert new_search(tmp_path, trials=2)._params == []
