import json
from dataclasses import asdict

from orchestrator import searcher as module
from orchestrator.execute import Event
from orchestrator.searcher import LedgerSearcher, Watcher
from tests.orchestrator.test_search import new_search


def test_a_trial_that_no_process_takes_says_for_what_it_waits_at_growing_intervals(tmp_path, monkeypatch):
    told = []
    watcher = Watcher(lambda trial, event: told.append((trial.id, event.kind, event.text)), lambda trial, outcome: None)
    searcher = LedgerSearcher(new_search(tmp_path), watcher, None)
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    waiting, running = (searcher.suggest(name)["trial"] for name in ("a", "b"))
    searcher.on_trial_result("b", {"event": json.dumps(asdict(Event("start", "city")))})
    told.clear()
    for clock[0] in range(0, 500):
        searcher.remind(lambda: "0 CPU, 0 GPU")
    assert [name for name, _, _ in told] == [waiting] * 4 != [running] * 4
    assert [text.split(", ")[1] for _, _, text in told] == [
        f"{at} s so far; free in the cluster: 0 CPU" for at in (60, 120, 240, 480)
    ]
    searcher.on_trial_complete("a", error=True)
    searcher.remind(lambda: "")
    assert told[-1][1] == "lost", "what has ended waits no more"
