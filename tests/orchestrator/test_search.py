import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from orchestrator.experiments.demo import toy_city
from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.samplers import grid
from orchestrator.search import Search, Sweep, base, identity
from orchestrator.trial import Outcome
from tests.orchestrator.fakes import finished, place
from trainers.errors import UserError

ALPHA = {"train.loss.alpha": FloatDistribution(0.0, 1.0)}
MIXED = {
    **ALPHA,
    "train.optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "train.batch_size": IntDistribution(1, 8),
    "train.optimizer.name": CategoricalDistribution(["sgd", "adam", "adamw"]),
}
FAILED = Outcome("failed", failure_class="bug", message="RuntimeError: no")


def new_search(storage, *, space=ALPHA, trials=4, num_seeds=1, sampler="tpe", seed=0):
    experiment = toy_city()
    sweep = Sweep(
        experiment=experiment,
        arm=experiment.arms["supervised"],
        space=space,
        trials=trials,
        num_seeds=num_seeds,
        seeds=Seeds(seed, seed, "last"),
        sampler=sampler,
        place=place(storage),
    )
    return Search(sweep, Ledger(storage, "one"))


def score(trial):
    alpha = trial.varied.get("train.loss.alpha", 0.5)
    return 0.9 - (alpha - 0.3) ** 2 + 0.01 * trial.seeds.trial


def drive(search, count=None, outcome=None):
    """Run ``count`` trials (all when not given); (varied, seed) of each."""
    ran = []
    while count is None or len(ran) < count:
        given = search.next_trial()
        if given is None:
            break
        trial, attempt = given
        search.finish(trial, outcome or finished(score(trial)), attempt)
        ran.append((dict(trial.varied), trial.seeds.trial))
    return ran


def states(search):
    """State of each asked configuration in the study; asks that were replaced are left out."""
    return [trial for trial in search._study.get_trials() if trial.state != TrialState.FAIL or trial.user_attrs]


def test_every_configuration_is_run_with_every_seed(tmp_path):
    search = new_search(tmp_path, trials=3, num_seeds=2, seed=5)
    assert not search.is_done
    ran = drive(search)
    assert search.is_done
    assert search.total == len(ran) == 6
    assert [seed for _, seed in ran] == [5, 6, 5, 6, 5, 6]
    assert len({params["train.loss.alpha"] for params, _ in ran}) == 3
    assert search.next_trial() is None
    assert len(search.outcomes) == 6


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("space", [ALPHA, MIXED], ids=["one field", "four fields"])
def test_the_sequence_is_the_same_wherever_it_was_interrupted(tmp_path, sampler, space):
    trials = 16  # TPE is random for its first ten.
    options = {"space": space, "trials": trials, "sampler": sampler}
    undisturbed = drive(new_search(tmp_path / "undisturbed", **options))
    assert len(undisturbed) == trials
    for kills in ((1,), (5, 11), (12, 13, 14)):
        storage = tmp_path / str(kills)
        ran = []
        for kill in kills:
            ran += drive(new_search(storage, **options), kill - len(ran))
        resumed = new_search(storage, **options)
        assert len(resumed.known) == len(ran) == kills[-1]
        assert ran + drive(resumed) == undisturbed


def test_another_seed_is_another_sequence(tmp_path):
    first = drive(new_search(tmp_path / "0"))
    assert drive(new_search(tmp_path / "1", seed=1)) != first


def test_no_suggestion_comes_twice(tmp_path):
    """Also where nothing was told between the asks, as with many trials at once."""
    search = new_search(tmp_path, trials=20)
    given = [search.next_trial()[0] for _ in range(20)]
    assert len({trial.varied["train.loss.alpha"] for trial in given}) == 20
    assert search.next_trial() is None


def test_what_was_handed_out_and_not_finished_is_handed_out_again_first(tmp_path):
    killed = new_search(tmp_path)
    drive(killed, 1)
    lost, attempt = killed.next_trial()
    assert attempt == 0
    resumed = new_search(tmp_path)
    again, attempt = resumed.next_trial()
    assert again.id == lost.id
    assert attempt == 1
    assert len(resumed.ledger.read("asked")) == 2


def test_the_seeds_of_a_configuration_that_are_missing_come_first(tmp_path):
    killed = new_search(tmp_path, num_seeds=3)
    (first,) = drive(killed, 1)
    rest = drive(new_search(tmp_path, num_seeds=3), 2)
    assert rest == [(first[0], 1), (first[0], 2)]


def test_a_retried_trial_comes_before_anything_new(tmp_path):
    search = new_search(tmp_path)
    trial, _ = search.next_trial()
    search.retry(trial)
    again, attempt = search.next_trial()
    assert (again.id, attempt) == (trial.id, 1)


def test_more_trials_and_seeds_extend_a_finished_search(tmp_path):
    first = drive(new_search(tmp_path, trials=2))
    assert new_search(tmp_path, trials=2).is_done
    assert drive(new_search(tmp_path, trials=2)) == []
    assert not new_search(tmp_path, trials=3).is_done
    more = drive(new_search(tmp_path, trials=4))
    assert len(more) == 2
    assert not {str(one) for one in more} & {str(one) for one in first}
    seeds = drive(new_search(tmp_path, trials=4, num_seeds=2))
    assert seeds == [(params, 1) for params, _ in first + more]
    assert drive(new_search(tmp_path, trials=1)) == []


def test_the_sampler_is_told_the_mean_over_the_seeds_when_the_last_has_ended(tmp_path):
    search = new_search(tmp_path, num_seeds=2)
    drive(search, 1)
    assert [trial.state for trial in states(search)] == [TrialState.RUNNING]
    ((params, _),) = drive(search, 1)
    (told,) = states(search)
    assert told.state == TrialState.COMPLETE
    assert told.params == params
    mean = 0.9 - (params["train.loss.alpha"] - 0.3) ** 2 + 0.005
    assert told.value == pytest.approx(mean, abs=1e-12)
    restored = states(new_search(tmp_path, num_seeds=2))
    assert [(one.state, one.value, one.params) for one in restored] == [(told.state, told.value, told.params)]


def test_a_configuration_with_a_failed_seed_is_told_as_failed(tmp_path):
    search = new_search(tmp_path, num_seeds=2)
    drive(search, 1)
    drive(search, 1, FAILED)
    assert [trial.state for trial in search._study.get_trials()].count(TrialState.FAIL) == 2  # Asked, and told.
    assert not [trial for trial in search._study.get_trials() if trial.state == TrialState.COMPLETE]
    assert [trial.state for trial in new_search(tmp_path, num_seeds=2)._study.get_trials()] == [TrialState.FAIL]


def test_a_failure_does_not_end_the_search_and_is_not_run_again(tmp_path):
    search = new_search(tmp_path)
    drive(search, 1, FAILED)
    assert len(drive(search)) == 3
    assert drive(new_search(tmp_path)) == []
    assert [outcome.status for _, outcome, _ in new_search(tmp_path).known].count("failed") == 1


def test_a_configuration_that_is_suggested_again_is_not_run_again(tmp_path):
    space = {"train.loss.normalise_focal": CategoricalDistribution([True, False])}
    for sampler in ("tpe", "random"):
        storage = tmp_path / sampler
        search = new_search(storage, space=space, trials=5, num_seeds=2, sampler=sampler)
        ran = drive(search)
        assert len(ran) == len({str(one) for one in ran}) <= 4
        assert len(search.ledger.read("asked")) == 5
        values = [trial.value for trial in search._study.get_trials() if trial.state == TrialState.COMPLETE]
        assert len(values) == 5
        assert values == pytest.approx([score_of_default()] * 5)
        assert drive(new_search(storage, space=space, trials=5, num_seeds=2, sampler=sampler)) == []


def score_of_default():
    return 0.9 - 0.04 + 0.005


def test_a_duplicate_that_still_runs_is_told_its_value_when_it_ends(tmp_path):
    space = {"train.loss.normalise_focal": CategoricalDistribution([True])}
    search = new_search(tmp_path, space=space, trials=3)
    trial, attempt = search.next_trial()
    assert search.next_trial() is None
    search.finish(trial, finished(0.5), attempt)
    told = [one.value for one in search._study.get_trials() if one.state == TrialState.COMPLETE]
    assert told == [0.5] * 3


def test_a_second_process_on_the_same_sweep_is_told(tmp_path):
    first, second = new_search(tmp_path), new_search(tmp_path)
    first.next_trial()
    with pytest.raises(UserError, match="another process runs the sweep one: it asked for c0000 first"):
        second.next_trial()


def values(space, trials):
    return [tuple(point.values()) for point in grid(space, trials)]


def test_a_grid_is_evenly_spaced_with_both_ends():
    assert values({"a": FloatDistribution(0.0, 1.0)}, 5) == [(0.0,), (0.25,), (0.5,), (0.75,), (1.0,)]
    assert values({"a": FloatDistribution(0.0, 1.0)}, 1) == [(0.5,)]
    logarithmic = [point[0] for point in values({"a": FloatDistribution(1e-4, 1e-2, log=True)}, 3)]
    assert logarithmic == pytest.approx([1e-4, 1e-3, 1e-2], rel=1e-12)
    assert all(1e-4 <= value <= 1e-2 for value in logarithmic)
    assert values({"a": FloatDistribution(0.0, 1.0, step=0.25)}, 3) == [(0.0,), (0.5,), (1.0,)]


def test_a_grid_of_integers_holds_integers():
    assert values({"a": IntDistribution(2, 5)}, 4) == [(2,), (3,), (4,), (5,)]
    assert values({"a": IntDistribution(0, 1)}, 5) == [(0,), (1,)]
    powers = values({"a": IntDistribution(1, 64, log=True)}, 4)
    assert powers == [(1,), (4,), (16,), (64,)]
    assert all(isinstance(point[0], int) for point in powers)


def test_a_grid_of_integers_keeps_to_their_step():
    for trials in range(1, 9):
        for (value,) in values({"a": IntDistribution(2, 10, step=4)}, trials):
            assert value in (2, 6, 10)


def test_a_grid_has_every_combination_and_at_most_so_many_points():
    space = {"a": FloatDistribution(0.0, 1.0), "o": CategoricalDistribution(["x", "y"]), "n": IntDistribution(1, 9)}
    points = values(space, 18)
    assert points == [(a, o, n) for a in (0.0, 0.5, 1.0) for o in ("x", "y") for n in (1, 5, 9)]
    assert len(values(space, 17)) == 8
    with pytest.raises(UserError, match="at least 2 trials for the categories alone, got 1"):
        grid(space, 1)


def test_a_grid_search_runs_the_points_of_the_grid(tmp_path):
    space = {**ALPHA, "train.optimizer.name": CategoricalDistribution(["sgd", "adam"])}
    search = new_search(tmp_path, space=space, trials=7, sampler="grid")
    assert search.total == 6
    ran = drive(search, 2) + drive(new_search(tmp_path, space=space, trials=7, sampler="grid"))
    assert [tuple(params.values()) for params, _ in ran] == [(a, o) for a in (0.0, 0.5, 1.0) for o in ("sgd", "adam")]


@pytest.mark.parametrize("more", [5, 4])
def test_a_finer_grid_keeps_what_was_run_and_adds_what_is_missing(tmp_path, more):
    drive(new_search(tmp_path, trials=3, sampler="grid"))
    drive(new_search(tmp_path, trials=more, sampler="grid"))
    ran = {trial.varied["train.loss.alpha"] for trial, _, _ in new_search(tmp_path, trials=more, sampler="grid").known}
    assert ran == {0.0, 0.5, 1.0} | {index / (more - 1) for index in range(more)}


def test_what_may_be_edited_between_starts_is_neither_identity_nor_base(tmp_path):
    small = new_search(tmp_path / "a", trials=2).sweep
    for name, options in {
        "b": {"trials": 9, "num_seeds": 3},
        "c": {"sampler": "random"},
        "d": {"space": MIXED},
    }.items():
        other = new_search(tmp_path / name, **options).sweep
        assert identity(other) == identity(small)
        assert base(other) == base(small)
    assert base(new_search(tmp_path / "e", seed=1).sweep) != base(small)


def test_the_study_of_a_search_maximizes(tmp_path):
    search = new_search(tmp_path, trials=12)
    drive(search)
    assert search._study.direction == optuna.study.StudyDirection.MAXIMIZE
    best = max(outcome.objectives["source_miou"] for outcome in search.outcomes.values())
    assert search._study.best_value == pytest.approx(best)
