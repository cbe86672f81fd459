import json
from dataclasses import replace

import pytest

from orchestrator.confirm import confirmation, fresh_seed
from orchestrator.experiments import build
from orchestrator.files import replace_json
from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.overrides import assign
from orchestrator.search import Search
from orchestrator.start import SweepRequest, prepare
from tests.orchestrator import fakes
from trainers.errors import UserError


@pytest.mark.parametrize("name", ["demo", "toy_city", "night_self_training"])
def test_a_sweep_does_not_make_held_out_stages_and_a_confirmation_does(name, tmp_path):
    experiment = build(name)
    for arm in experiment.arms.values():
        plain, confirming = (set(experiment.upstream(one.stages())) for one in (arm, arm.confirming()))
        assert not [stage for stage in plain if "held_out" in stage]
        added = {f"{one.base or one.name}@{which}" for one in arm.held_out.values() for which in ("best", "final")}
        assert confirming - plain == ({"city_held_out"} if added else set()) | added
        assert set(arm.held_out) <= {one.name for one in arm.evaluations}
        assert {one.role for one in arm.held_out.values()} <= {"held_out"}
        for stage in added:
            split = str(experiment.stages[stage].config.split)
            domain, part = split.removeprefix("toy_city/").split("_", 1)
            assert part == "held_out"
            assert part in experiment.stages["city_held_out"].config.images[domain]
            assert part not in experiment.stages["city"].config.images[domain]


def test_the_held_out_city_is_drawn_as_the_city_is():
    changed = assign(build("demo"), {"city.height": 96, "city.city_seed": 3})
    held_out = changed.stages["city_held_out"].config
    assert (held_out.height, held_out.width, held_out.city_seed) == (96, 128, 3)
    assert held_out.counts() == {"day": {"held_out": 40}, "night": {"held_out": 40}}
    assert (
        assign(changed, {"city_held_out.images": {"day": {"held_out": 2}}}).stages["city_held_out"].config.height == 96
    )
    with pytest.raises(UserError, match=r"city_held_out.height is always city.height \(64\), got 32: set city.height"):
        assign(build("demo"), {"city_held_out.height": 32})


def swept(storage, results, **changes):
    """A sweep of the demo whose configurations ended as ``results``: alpha → {seed: source_miou or a status}."""
    request = SweepRequest(**{"experiment": "demo", "trials": len(results), "seeds": 2, "name": "one"} | changes)
    what = prepare(request, storage)
    ledger = Ledger(what.place.storage, "one")
    ledger.root.mkdir(parents=True)
    replace_json(ledger.root / "request.json", request.model_dump(mode="json"))
    search = Search(replace(what, points=[{"train.loss.alpha": alpha} for alpha in results]), ledger)
    while (given := search.next_trial()) is not None:
        trial, attempt = given
        value = results[trial.varied["train.loss.alpha"]].get(trial.seeds.trial)
        if value is not None:
            ended = fakes.finished(value) if isinstance(value, float) else fakes.Outcome(value)
            search.finish(trial, ended, attempt)
    return request


RESULTS = {
    0.1: {0: 0.3, 1: 0.5},
    0.2: {0: 0.9},
    0.3: {0: 0.5, 1: 0.6},
    0.4: {0: "diverged", 1: 0.99},
    0.5: {0: 0.1, 1: 0.1},
}


def test_the_best_configurations_run_again_with_fresh_seeds(tmp_path):
    swept(tmp_path, RESULTS)
    request = confirmation(tmp_path, "one", top=2, seeds=3)
    assert (request.name, request.trials, request.seeds) == ("one-confirm", 2, 3)
    # By mean over both seeds; 0.2 has one seed only, 0.4 one that finished.
    assert request.confirms.points == [{"train.loss.alpha": 0.3}, {"train.loss.alpha": 0.1}]
    what = prepare(request, tmp_path)
    search = Search(what, Ledger(what.place.storage, request.name))
    assert search.total == 6
    trials = []
    while (given := search.next_trial()) is not None:
        trials.append(given[0])
    assert [trial.varied["train.loss.alpha"] for trial in trials] == [0.3] * 3 + [0.1] * 3
    assert [trial.seeds for trial in trials[:3]] == [Seeds(0, seed, "last") for seed in (1000, 1001, 1002)]
    assert {"day_held_out@best", "night_held_out@best"} <= set(trials[0].arm.stages())
    # A start after a kill hands out the same ones.
    again = Search(what, Ledger(what.place.storage, request.name))
    assert [again.next_trial()[0].id for _ in range(6)] == [trial.id for trial in trials]
    assert len(json.loads(request.model_dump_json())["confirms"]["points"]) == 2


def test_fresh_seeds_are_those_that_no_trial_had(tmp_path):
    request = swept(tmp_path, {0.1: {1200: 0.5, 1201: 0.5}}, seed=1200)
    assert fresh_seed(Ledger(tmp_path, "one"), request) == 2000
    assert fresh_seed(Ledger(tmp_path, "nothing"), SweepRequest(experiment="demo", seeds=1001, name="x")) == 2000


def test_what_cannot_be_confirmed_is_refused(nightshift, camvid_root, tmp_path):
    storage = tmp_path / "storage"
    values = {"data.camvid.root": str(camvid_root)}
    replace_json_request(storage, SweepRequest(experiment="camvid", values=values, name="photos"))
    replace_json_request(storage, SweepRequest(experiment="demo", name="fresh"))
    confirms = {"sweep": "fresh", "points": [], "first_seed": 1000}
    replace_json_request(storage, SweepRequest(experiment="demo", confirms=confirms, name="fresh-confirm"))
    for name, what in {
        "photos": "camvid has no held-out split, so photos cannot be confirmed",
        "fresh": "no configuration of fresh has finished yet",
        "fresh-confirm": "is a confirmation itself",
        "frehs": "did you mean 'fresh'",
    }.items():
        done = nightshift("confirm", name, "--storage", storage)
        assert (done.code, done.out) == (2, ""), done
        assert done.err.count("\n") == 1
        assert what in done.err


def replace_json_request(storage, request):
    folder = storage / "sweeps" / request.name
    folder.mkdir(parents=True)
    replace_json(folder / "request.json", request.model_dump(mode="json"))
