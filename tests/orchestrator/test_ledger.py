import json
import threading

import pytest

from orchestrator.ledger import Ledger, attempt_name
from orchestrator.records import SCHEMA_VERSION, NewerSchema
from tests.orchestrator.fakes import SCORE
from trainers.errors import UserError

SPEC = {"experiment": "demo", "seed": 0, "stages": {"train": {"loss": {"alpha": 0.5}}}}
ATTEMPT = {"varied": {}, "seed": 0}


def asked(value):
    return {"params": {"a": value}, "base": "b"}


@pytest.mark.parametrize("name", ["a", "demo-loss_alpha", "A.b_c-9", "x" * 64])
def test_a_good_name_names_the_folder(tmp_path, name):
    assert Ledger(tmp_path, name).root == tmp_path / "sweeps" / name


@pytest.mark.parametrize("name", ["", "001", "-x", ".hidden", "a/b", "a b", "a\n", "ä", "x" * 65, "../up"])
def test_a_bad_name_is_refused_with_the_rule(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a sweep: a letter first") as caught:
        Ledger(tmp_path, name)
    assert repr(name) in str(caught.value)


def test_opening_tells_whether_it_is_new(tmp_path):
    assert Ledger(tmp_path, "one").open(SPEC) is True
    assert Ledger(tmp_path, "one").open(dict(reversed(SPEC.items()))) is False


def test_another_sweep_under_the_same_name_is_refused_in_one_line(tmp_path):
    Ledger(tmp_path, "one").open(SPEC)
    with pytest.raises(UserError) as caught:
        Ledger(tmp_path, "one").open({**SPEC, "experiment": "camvid"})
    text = str(caught.value)
    assert "\n" not in text
    for part in ("the sweep one", "experiment", "'demo'", "'camvid'", "--name"):
        assert part in text
    with pytest.raises(UserError, match="sampler was None and is now 'grid'"):
        Ledger(tmp_path, "one").open({**SPEC, "sampler": "grid"})
    with pytest.raises(UserError, match="seed was 0 and is now None"):
        Ledger(tmp_path, "one").open({name: value for name, value in SPEC.items() if name != "seed"})
    assert Ledger(tmp_path, "one").open(SPEC) is False


def test_a_record_is_written_once_and_read_back_in_order(tmp_path):
    ledger = Ledger(tmp_path, "one")
    assert ledger.read("asked") == {}
    assert ledger.write("asked", "c0001", asked(1))
    assert ledger.write("asked", "c0000", asked(0))
    assert not ledger.write("asked", "c0000", asked(9))
    assert list(ledger.read("asked").items()) == [("c0000", asked(0)), ("c0001", asked(1))]


def test_of_two_writers_at_once_one_wins(tmp_path):
    ledger = Ledger(tmp_path, "one")
    barrier = threading.Barrier(8)
    won = []

    def write(number):
        barrier.wait()
        if ledger.write("asked", "c0000", asked(number)):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.read("asked")["c0000"]["params"]["a"]] == won
    assert [path.name for path in (ledger.root / "asked").iterdir()] == ["c0000.json"]


def test_attempts_are_counted_from_zero_for_each_trial(tmp_path):
    ledger = Ledger(tmp_path, "one")
    assert [ledger.begin("t0", ATTEMPT) for _ in range(3)] == [0, 1, 2]
    assert ledger.begin("t1", ATTEMPT) == 0
    assert sorted(ledger.read("attempts")) == ["t0.000", "t0.001", "t0.002", "t1.000"]


def test_the_last_attempt_that_ended_is_the_outcome(tmp_path):
    ledger = Ledger(tmp_path, "one")
    for attempt, status in ((0, "failed"), (2, "finished")):
        ledger.write("outcomes", attempt_name("t0", attempt), {"status": status})
    ledger.begin("t0", ATTEMPT)
    assert ledger.outcomes() == {"t0": (2, {"status": "finished"})}


def test_records_beyond_the_padding_of_their_number_come_last(tmp_path):
    ledger = Ledger(tmp_path, "one")
    for attempt in (1000, 2, 999):
        ledger.write("outcomes", attempt_name("t0", attempt), {"status": "failed"})
        ledger.write("asked", f"c{10 * attempt:04d}", asked(0))
    assert ledger.outcomes()["t0"][0] == 1000
    assert list(ledger.read("asked")) == ["c0020", "c9990", "c10000"]


def test_a_damaged_record_is_named(tmp_path):
    ledger = Ledger(tmp_path, "one")
    ledger.write("outcomes", "t0.000", {"status": "finished"})
    path = ledger.root / "outcomes" / "t0.000.json"
    path.write_text('{"status": "fin')
    with pytest.raises(
        UserError, match=r"record outcomes of the sweep one .* is damaged .*doctor.*moves it away"
    ) as caught:
        ledger.outcomes()
    assert str(path) in str(caught.value)


def test_leftovers_of_a_killed_writer_are_no_records(tmp_path):
    ledger = Ledger(tmp_path, "one")
    ledger.write("asked", "c0000", asked(0))
    (ledger.root / "asked" / ".0123.aside").write_text('{"par')
    assert list(ledger.read("asked")) == ["c0000"]


def test_the_trace_of_a_bug_is_kept_in_a_file(tmp_path):
    path = Ledger(tmp_path, "one").write_failure("t0", 1, "Traceback …")
    assert path == tmp_path / "sweeps" / "one" / "failures" / "t0.001.txt"
    assert path.read_text() == "Traceback …"


def test_a_ledger_of_a_newer_version_is_refused_with_what_to_do(tmp_path):
    ledger = Ledger(tmp_path, "one")
    ledger.open(SPEC)
    ledger.write("asked", "c0000", asked(0))
    path = ledger.root / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION + 1}))
    for use in (lambda: Ledger(tmp_path, "one").open(SPEC), lambda: Ledger(tmp_path, "one").read("asked")):
        with pytest.raises(NewerSchema, match=rf"schema version {SCHEMA_VERSION + 1}.*upgrade nightshift") as caught:
            use()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_ledger_from_before_versions_were_written_is_read(tmp_path):
    ledger = Ledger(tmp_path, "one")
    ledger.root.mkdir(parents=True)
    (ledger.root / "spec.json").write_text(json.dumps(SPEC))
    assert ledger.open(SPEC) is False
    ledger.write("outcomes", "t0.000", {"status": "finished", "scores": {"val": {"miou": 1}}})
    assert ledger.outcomes() == {"t0": (0, {"status": "finished", "scores": {"val": {"miou": 1}}})}
    ledger.write("attempts", "t0.001", ATTEMPT)
    assert list(ledger.open_keys()) == []


def test_results_of_evaluations_lie_beside_the_outcome_and_are_read_only_when_needed(tmp_path):
    ledger = Ledger(tmp_path, "one")
    ledger.finish("t0", 1, {"status": "finished", "scores": {"val@best": SCORE}})
    assert ledger.outcomes() == {"t0": (1, {"status": "finished", "scores": {}})}
    assert ledger.scores("t0", 1) == {"val@best": SCORE}
    (ledger.root / "scores" / "t0.001.json").unlink()
    with pytest.raises(UserError, match=r"scores/t0\.001\.json is missing.*collected again from its artifacts"):
        ledger.scores("t0", 1)


def test_the_keys_of_trials_that_may_still_go_on_are_open(tmp_path):
    ledger = Ledger(tmp_path, "one")
    for trial in ("finished", "pruned", "failed", "diverged", "killed", "again"):
        ledger.begin(trial, {**ATTEMPT, "keys": [f"{trial} key"]})
    for trial in ("finished", "pruned", "failed", "diverged", "again"):
        status = "finished" if trial == "again" else trial
        ledger.finish(trial, 0, {"status": status, "scores": {}})
    ledger.begin("again", {**ATTEMPT, "keys": ["again key 1"]})
    ledger.write("shared", "s", {"keys": ["shared key"]})
    assert sorted(ledger.open_keys()) == ["again key 1", "diverged key", "failed key", "killed key", "shared key"]
