"""A trial's process that ends without a word: told from a bug, tried again, given up where it never gets further."""

import json
from dataclasses import asdict

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError

from orchestrator.execute import Event
from orchestrator.losses import MAX_RETRIES, Losses, loss_class
from orchestrator.searcher import LedgerSearcher, Watcher, why_it_broke
from results.leaderboard import load
from tests.orchestrator.test_search import new_search

BUG = RayTaskError("train", "Traceback: KeyError: 'seed'", KeyError("seed"))
NODE = RayActorError(error_msg="The actor died because its node has died. Node Id: 17")


def step(number, stage="train"):
    return Event("progress", stage, metrics={"step": float(number), "steps": 100.0})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BUG, "bug"),
        (ActorDiedError(), "worker_lost"),
        (NODE, "node_lost"),
        (RayActorError(preempted=True), "preempted"),
        (OutOfMemoryError("task killed, node low on memory"), "out_of_memory"),
        (None, "worker_lost"),
    ],
)
def test_the_class_of_a_loss_is_read_off_what_ray_says(error, kind):
    assert loss_class(error) == kind


class Picky(Exception):
    """One of those that cannot be read back."""

    def __init__(self, first, second):
        super().__init__(first)


@pytest.mark.parametrize(("error", "kind"), [(BUG, "bug"), (NODE, "node_lost"), (Picky(1, 2), "worker_lost")])
def test_what_tune_put_down_is_read_back_where_that_can_be(tmp_path, error, kind):
    path = tmp_path / "error.pkl"
    assert why_it_broke(str(path)) is None
    assert why_it_broke(None) is None
    path.write_bytes(cloudpickle.dumps(error))
    assert loss_class(why_it_broke(str(path))) == kind


def lose(losses):
    """How many there were in a row after one more."""
    assert losses.one_too_many() == (losses.in_a_row > MAX_RETRIES)
    return losses.in_a_row


def test_only_losses_in_a_row_without_progress_count():
    losses = Losses()
    assert [lose(losses) for _ in range(MAX_RETRIES + 1)] == [1, 2, 3, 4]
    losses.heard(step(20))
    assert lose(losses) == 1
    for event in (step(20), step(15), Event("hit", "city"), Event("start", "train")):
        losses.heard(event)
    assert lose(losses) == 2, "what an earlier attempt had reached as well is no progress"
    losses.heard(step(25))
    assert lose(losses) == 1


def test_progress_in_any_stage_is_progress():
    losses = Losses()
    losses.heard(step(90))
    assert lose(losses) == 1
    losses.heard(step(10, "translate"))
    assert lose(losses) == 1
    losses.heard(Event("done", "day_val@best"))
    assert lose(losses) == 1
    assert lose(losses) == 2


@pytest.fixture
def searcher(tmp_path):
    told = []
    watcher = Watcher(lambda one, event: told.append(event), lambda one, outcome: told.append(outcome))
    found = LedgerSearcher(new_search(tmp_path, trials=1), watcher, None)
    found.told = told
    return found


def test_a_lost_trial_is_tried_again_and_every_loss_is_in_the_ledger(searcher, tmp_path):
    ledger, errors = searcher._search.ledger, [None, NODE, ActorDiedError(), RayActorError(preempted=True)]
    assert len(errors) == MAX_RETRIES + 1
    for attempt, error in enumerate(errors):
        config = searcher.suggest(f"tune{attempt}")
        assert config["attempt"] == attempt
        searcher.broke(f"tune{attempt}", error)
        searcher.on_trial_complete(f"tune{attempt}", error=True)
    classes = ["worker_lost", "node_lost", "worker_lost", "preempted"]
    assert [record["failure_class"] for record in ledger.read("losses").values()] == classes
    assert [event.text.split(";")[0] for event in searcher.told[:-1]] == [
        f"its process died ({one})" for one in classes[:-1]
    ]
    ((attempt, outcome),) = ledger.outcomes().values()
    assert (attempt, outcome["status"], outcome["failure_class"]) == (MAX_RETRIES, "failed", "preempted")
    assert "4 times in a row" in outcome["message"]
    assert load(tmp_path)["failure_class"].tolist() == ["preempted"]
    assert searcher.suggest("next") == "FINISHED"


def test_a_trial_that_gets_further_each_time_is_never_given_up(searcher):
    for attempt in range(3 * MAX_RETRIES):
        assert searcher.suggest(f"tune{attempt}")["attempt"] == attempt
        searcher.on_trial_result(f"tune{attempt}", {"event": json.dumps(asdict(step(attempt + 1)))})
        searcher.on_trial_complete(f"tune{attempt}", error=True)
    assert len(searcher._search.ledger.read("losses")) == 3 * MAX_RETRIES
    assert searcher._search.ledger.outcomes() == {}


def test_an_error_of_our_own_code_is_a_bug_and_not_tried_again(searcher, tmp_path):
    searcher.suggest("tune")
    searcher.broke("tune", BUG)
    searcher.on_trial_complete("tune", error=True)
    ((attempt, outcome),) = searcher._search.ledger.outcomes().values()
    assert (attempt, outcome["failure_class"]) == (0, "bug")
    assert "seed" in outcome["message"]
    assert searcher._search.ledger.read("losses") == {}
    assert searcher.suggest("next") == "FINISHED"
