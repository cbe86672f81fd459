"""One worker group that serves many trials, and what can befall it: ranks that raise, hang or die; its owner dies."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.schedulers import Pruner, asha
from orchestrator.search import Search, Sweep, base
from orchestrator.trial import Place, Trial
from tests.integration.drill import experiment

pytestmark = pytest.mark.integration

CPUS = 4


@pytest.fixture(scope="module")
def ray():
    """A local cluster of its own with four CPUs that nobody counts."""
    import ray

    from orchestrator.cluster import connect

    connect(CPUS)
    yield ray
    ray.shutdown()


def make_place(storage: Path, **changes) -> Place:
    storage.mkdir(exist_ok=True)
    return Place(
        **{"storage": storage, "roots": {}, "fingerprints": {}, "workers": 2, "collective_seconds": 15.0} | changes
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("slot") / "storage")


@pytest.fixture(scope="module")
def slot(ray, place):
    from orchestrator.slot import Slot

    with Slot(place) as slot:
        yield slot


class Run:
    """A trial in a slot: its outcome, the events, the steps that it took and the processes that took them."""

    def __init__(self, slot, value, *, stop_at=None, **values):
        self.events = []
        study = experiment(value=value, **values)
        trial = Trial.of(study, study.arms["drill"], {}, Seeds(0, 0, "last"), slot.place)

        def observe(event):
            self.events.append(event)
            if event.kind == "progress" and event.metrics["step"] == stop_at:
                raise SystemExit(143)

        self.outcome = None
        if stop_at is None:
            self.outcome = slot.run(trial, observe)
        else:
            with pytest.raises(SystemExit):
                slot.run(trial, observe)
        lines = [line.split() for line in (slot.place.storage / "steps.txt").read_text().splitlines()]
        mine = [line for line in lines if float(line[0]) == value]
        self.steps = [int(step) for _, step, _ in mine]
        self.processes = {int(process) for _, _, process in mine}
        self.losses = [event.text for event in self.events if event.kind == "lost"]


def test_many_trials_are_served_by_the_same_processes(slot):
    runs = [Run(slot, value) for value in (1.0, 2.0, 3.0)]
    assert [run.outcome.status for run in runs] == ["finished"] * 3
    assert [run.steps for run in runs] == [[1, 2, 3, 4]] * 3
    assert len(set.union(*(run.processes for run in runs))) == 1
    assert all(not run.losses for run in runs)


def test_a_rank_that_raises_ends_its_trial_and_no_other(slot):
    run = Run(slot, 10.0, trouble="raise")
    assert (run.outcome.status, run.outcome.failure_class) == ("failed", "bug")
    assert run.outcome.message == "ValueError: told to raise"
    assert "get_into_trouble" in run.outcome.trace
    after = Run(slot, 11.0)
    assert after.outcome.status == "finished"
    assert after.processes != run.processes, "the other rank stood in a collective: the group is another one"
    assert not after.losses


def test_a_worker_that_dies_is_rebuilt_within_the_trial(slot):
    run = Run(slot, 12.0, trouble="die")
    assert run.outcome.status == "finished"
    assert run.steps == [1, 2, 3, 3, 4], "it goes on from its checkpoint"
    assert len(run.processes) == 2
    assert len(run.losses) == 1
    assert "was lost" in run.losses[0]


def test_a_trial_that_is_stopped_has_saved_and_goes_on_later(slot):
    first = Run(slot, 13.0, stop_at=2)
    other = Run(slot, 14.0)
    again = Run(slot, 13.0)
    assert other.outcome.status == again.outcome.status == "finished"
    assert first.steps == [1, 2]
    assert again.steps == [1, 2, 3, 4]
    assert first.processes == other.processes == again.processes


@pytest.mark.slow
def test_rank_0_may_die_too(slot):
    run = Run(slot, 20.0, trouble="die", rank=0)
    assert (run.outcome.status, run.steps) == ("finished", [1, 2, 3, 3, 4])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_is_noticed_after_the_timeout(slot, rank):
    began = time.monotonic()
    run = Run(slot, 21.0 + rank, trouble="hang", rank=rank)
    assert (run.outcome.status, run.steps) == ("finished", [1, 2, 3, 3, 4])
    assert len(run.losses) == 1
    assert time.monotonic() - began < 15 + 120


@pytest.mark.slow
def test_a_rank_without_memory_is_its_own_failure_class(slot):
    assert Run(slot, 23.0, trouble="memory").outcome.failure_class == "out_of_memory"


@pytest.mark.slow
def test_a_group_that_dies_again_and_again_without_getting_further_is_given_up(slot):
    run = Run(slot, 24.0, trouble="die always")
    assert (run.outcome.status, run.outcome.failure_class) == ("failed", "worker_lost")
    assert Counter(run.steps) == {1: 1, 2: 1, 3: 4}
    assert "its worker group broke 4 times: worker " in run.outcome.message
    assert Run(slot, 25.0).outcome.status == "finished"


def free_cpus(ray):
    return ray.available_resources().get("CPU", 0)


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.2)


@pytest.mark.slow
def test_what_a_dead_owner_had_reserved_can_be_given_back(ray, slot, tmp_path):
    """Its processes end by themselves; the reservation is the searcher's to release, who knows it by an event."""
    from orchestrator.group import release

    place = make_place(tmp_path / "storage")
    told = tmp_path / "told"

    @ray.remote(num_cpus=0)
    class Owner:
        def pid(self):
            return os.getpid()

        def work(self):
            from orchestrator.slot import Slot

            def observe(event):
                if event.kind == "group":
                    told.write_text(event.text)

            study = experiment(pause_seconds=1.0, loop={"steps": 600})
            trial = Trial.of(study, study.arms["drill"], {}, Seeds(0, 0, "last"), place)
            Slot(place).run(trial, observe)

    before = CPUS - 2  # The module's slot has the others, once it has started.
    wait_until(lambda: free_cpus(ray) == before, 120)
    owner = Owner.remote()
    pid = ray.get(owner.pid.remote())
    owner.work.remote()
    wait_until(lambda: told.exists() and (place.storage / "steps.txt").exists(), 200)
    assert free_cpus(ray) == before - 2
    ranks = {int(line.split()[2]) for line in (place.storage / "steps.txt").read_text().splitlines()}
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks), 60)
    release(told.read_text())
    wait_until(lambda: free_cpus(ray) == before, 60)
    assert Run(slot, 30.0).outcome.status == "finished", "another slot hears nothing of it"


@pytest.mark.slow
def test_a_sweep_prunes_inside_its_groups_and_runs_two_at_once(ray, slot, tmp_path):
    """The module's slot holds two of the four CPUs, so the sweep first says that it waits; then both fit."""
    from orchestrator.searcher import Watcher
    from orchestrator.sweep import run_sweep

    slot.close()
    place = make_place(tmp_path / "storage")
    study = experiment(pause_seconds=3.0, loop={"steps": 6})  # The second group needs half a minute to start.
    space = {"train.value": FloatDistribution(0.0, 1.0)}
    sweep = Sweep(study, study.arms["drill"], space, 6, 1, Seeds(0, 0, "last"), "random", place, first_seed_races=True)
    ledger = Ledger(place.storage, "drill")
    search = Search(sweep, ledger)
    live, most = set(), 0

    def event(trial, one):
        nonlocal most
        live.add(trial.id)
        most = max(most, len(live))

    pruner = Pruner(ledger, asha(2.0), [2, 4], base=base(sweep))
    run_sweep(search, Watcher(event, lambda trial, outcome: live.discard(trial.id)), pruner)
    statuses = Counter(outcome.status for outcome in search.outcomes.values())
    assert statuses["finished"] + statuses["pruned"] == 6
    assert statuses["pruned"] >= 1
    assert most == 2
    assert len({line.split()[2] for line in (place.storage / "steps.txt").read_text().splitlines()}) == 2
    wait_until(lambda: free_cpus(ray) == CPUS, 60)
