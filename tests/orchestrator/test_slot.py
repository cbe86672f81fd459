"""What an owner makes of the letters of its group, without a group."""

import pytest

from orchestrator import slot as slots
from orchestrator.execute import Event, Throttle
from orchestrator.losses import MAX_RETRIES, Losses
from orchestrator.mailbox import Letter
from orchestrator.slot import Slot, SlotBroken, described
from orchestrator.trial import Outcome
from tests.orchestrator import fakes

DONE = Outcome("finished")


class Group:
    """Plays the mailbox: hands out prepared letters, one per look, and notes what the owner asks for."""

    def __init__(self, *letters):
        self.letters, self.asked = list(letters), []

    def __getattr__(self, name):
        class Method:
            @staticmethod
            def remote(*arguments):
                self.asked.append((name, *arguments[:1]) if name == "stop" else (name,))
                return [self.letters.pop(0)] if name == "take" and self.letters else []

        return Method


@pytest.fixture
def owner(monkeypatch, tmp_path):
    """``owner(*letters)``: a slot whose group sends these; ``run`` gives the outcome, ``events`` what was seen."""
    import ray

    monkeypatch.setattr(ray, "get", lambda value: value)

    class Owner(Slot):
        def __init__(self, *letters, alive=True):
            self.place = fakes.place(tmp_path, workers=2)
            self._mailbox, self._error, self._closed = Group(*letters), RuntimeError("out of controllers"), False
            self._thread = type("Thread", (), {"is_alive": lambda self: alive})()
            self.events = []

        def go(self, observe=None):
            return self.run(fakes.trial(tmp_path, workers=2), observe or self.events.append)

    return Owner


def progress(step):
    return Letter("event", Event("progress", "train", metrics={"step": step, "steps": 9}))


def broke(text="killed"):
    return Letter("broke", {1: text})


def test_events_pass_and_the_outcome_ends_the_trial(owner):
    one = owner(Letter("ready"), progress(1), Letter("outcome", DONE))
    assert one.go() is DONE
    assert [event.kind for event in one.events] == ["group", "progress"]


def test_a_group_that_gets_further_each_time_is_never_given_up(owner):
    letters = [letter for step in range(1, 9) for letter in (progress(step), broke())]
    one = owner(*letters, Letter("outcome", DONE))
    assert one.go() is DONE
    assert sum(event.kind == "lost" for event in one.events) == 8


def test_a_group_that_does_not_get_further_is_given_up(owner):
    one = owner(*[broke()] * (MAX_RETRIES + 1), Letter("outcome", DONE))
    outcome = one.go()
    assert (outcome.status, outcome.failure_class) == ("failed", "worker_lost")
    assert outcome.message == f"its worker group broke {MAX_RETRIES + 1} times: worker 1 was lost (killed)"
    assert ("abandon",) in one._mailbox.asked


def test_an_announced_loss_costs_no_chance(owner):
    letters = [letter for _ in range(2 * MAX_RETRIES) for letter in (Letter("leaving"), broke())]
    assert owner(*letters, Letter("outcome", DONE)).go() is DONE


@pytest.mark.parametrize(("code", "told"), [(143, 143), (0, 1), (None, 1)])
def test_a_stop_waits_until_the_ranks_have_let_go(owner, code, told):
    def stop(event):
        raise SystemExit(code)

    one = owner(progress(1), progress(2), Letter("outcome"), Letter("event", "never"))
    with pytest.raises(SystemExit):
        one.go(stop)
    assert ("stop", told) in one._mailbox.asked
    assert len(one._mailbox.letters) == 1


def test_a_group_that_is_gone_for_good_is_an_error(owner):
    with pytest.raises(SlotBroken, match="out of controllers"):
        owner(alive=False).go()


def test_who_waits_long_for_a_group_says_for_what(owner, monkeypatch):
    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(slots.time, "monotonic", lambda: next(clock))
    one = owner(*[progress(1)] * 6, Letter("outcome", DONE))
    one.go()
    (waiting,) = [event for event in one.events if event.kind == "waiting"]
    assert waiting.text == "for 2 x (1 CPU) to be free and started"


def test_of_several_lost_ranks_the_cause_is_named_and_not_its_consequence():
    assert described({0: "Collateral: gloo", 1: "ValueError: x"}) == "worker 1 was lost (ValueError: x)"
    assert described({0: "", 1: ""}) == "worker 0 was lost (without a word)"
    assert described({}) == "a worker died"


def test_losses_count_only_in_a_row_without_progress():
    losses = Losses()
    assert [losses.one_too_many() for _ in range(MAX_RETRIES)] == [False] * MAX_RETRIES
    losses.heard(Event("progress", "train", metrics={"step": 1.0}))
    assert not losses.one_too_many()
    assert [losses.one_too_many() for _ in range(MAX_RETRIES)] == [False] * (MAX_RETRIES - 1) + [True]


def test_the_throttle_lets_through_what_matters(monkeypatch):
    from orchestrator import execute

    now = [100.0]
    monkeypatch.setattr(execute.time, "monotonic", lambda: now[0])
    throttle = Throttle()
    step = Event("progress", "train", metrics={"step": 1})
    scored = Event("progress", "train", metrics={"step": 2, "selection_step": 2})
    resumed = Event("progress", "train", metrics={"step": 3, "resumed": 1.0})
    assert [throttle.passes(one) for one in (step, step, scored, resumed, Event("done", "train"), step)] == [
        True, False, True, True, True, False,
    ]  # fmt: skip
    now[0] += 1
    assert throttle.passes(step)
