"""Median stopping and a second objective on local Ray."""

import json

import pytest

from results.leaderboard import load

pytestmark = pytest.mark.integration

STEPS = tuple(
    word
    for field in ("train.loop.steps=8", "train.loop.log_every_steps=2", "train.loop.score_every_steps=2")
    for word in ("--set", field)
)


def records(storage, name, kind):
    return {path.stem: json.loads(path.read_text()) for path in (storage / "sweeps" / name / kind).glob("*.json")}


@pytest.mark.slow
def test_median_stops_what_is_below_three_others_and_not_before(nightshift, tiny, tmp_path):
    words = ("sweep", "demo", *tiny, *STEPS, "--scheduler", "median", "--name", "one", "--storage", tmp_path)
    done = nightshift(*words, "--trials", "1")
    assert done.returncode == 0, done.stderr
    first = records(tmp_path, "one", "rungs")
    assert sorted(one["rung"] for one in first.values()) == [2, 4, 6]
    assert all(one["keep"] for one in first.values()), "with fewer than three others nobody is stopped"
    (base,) = {one["base"] for one in first.values()}
    for number in range(3):  # Three others that nobody can reach.
        for rung in (2, 4, 6):
            record = {"config": f"c{number}", "rung": rung, "score": 0.99, "keep": True, "base": base}
            path = tmp_path / "sweeps" / "one" / "rungs" / f"c{number}.{rung:08d}.json"
            path.write_text(json.dumps(record))
    again = nightshift("resume", "one", "--trials", "2", "--storage", tmp_path)
    assert again.returncode == 0, again.stderr
    rows = load(tmp_path).drop_duplicates("trial")
    assert sorted(rows["status"]) == ["finished", "pruned"]
    (pruned,) = rows[rows["status"] == "pruned"].itertuples()
    assert pruned.message == "stopped at step 2 of 8"
    assert records(tmp_path, "one", "rungs")[f"{pruned.config_hash}.00000002"]["keep"] is False


@pytest.mark.slow
def test_two_objectives_are_searched_without_pruning_and_extended(nightshift, tiny, tmp_path):
    words = ("sweep", "demo", *tiny, "--set", "train.loop.steps=4", "--cost", "seconds", "--storage", tmp_path)
    done = nightshift(*words, "--trials", "2", "--name", "one")
    assert done.returncode == 0, done.stderr
    assert "two objectives, source_miou and seconds: nothing is pruned" in done.stderr
    again = nightshift("resume", "one", "--trials", "3", "--storage", tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 of 3 trials have ended already" in again.stderr
    outcomes = records(tmp_path, "one", "outcomes").values()
    assert [one["status"] for one in outcomes] == ["finished"] * 3
    assert all(one["objectives"]["seconds"] > 0 and one["objectives"]["source_miou"] >= 0 for one in outcomes)
    assert load(tmp_path)["trial"].nunique() == 3
