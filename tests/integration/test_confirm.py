import os
import signal

import pytest

from results.leaderboard import load

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
"""Three starts of Ray: on a loaded machine more than the usual five minutes."""

SHORT = ("--set", "train.loop.steps=30", "--set", "train.loop.checkpoint_every_steps=5")
HELD_OUT = ("--set", "city_held_out.images={day: {held_out: 4}, night: {held_out: 4}}")


def test_a_sweep_is_confirmed_with_fresh_seeds_also_after_a_kill(nightshift, tiny, tmp_path, wait_for):
    words = ("sweep", "demo", *tiny, *SHORT, *HELD_OUT, "--sampler", "grid", "--trials", "2", "--name", "one")
    done = nightshift(*words, "--storage", tmp_path)
    assert done.returncode == 0, done.stderr
    swept = load(tmp_path)
    assert len(list(tmp_path.glob("artifacts/toy_city/*"))) == 1, "the sweep paid for the held-out split"
    assert set(swept["split_role"]) == {"select", "report"}

    words = ("confirm", "one", "--top", "1", "--seeds", "2", "--storage", tmp_path)
    driver = nightshift.start(*words)
    wait_for(lambda: list(tmp_path.glob("partial/*/step-*")), driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    done = nightshift(*words)
    assert done.returncode == 0, done.stderr
    for part in ("day_held_out", "night_held_out", "optimism = mean in one − mean of the fresh seeds"):
        assert part in done.stdout

    rows = load(tmp_path)
    fresh = rows[rows["sweep"] == "one-confirm"]
    day = swept[(swept["evaluation_set"] == "day_val") & (swept["checkpoint"] == "best")]
    assert set(fresh["varied"]) == {day.loc[day["miou"].idxmax(), "varied"]}
    assert not set(fresh["seed"]) & set(swept["seed"])
    assert set(fresh["status"]) == {"finished"}
    held_out = fresh[fresh["split_role"] == "held_out"]
    assert sorted(held_out["evaluation_set"].unique()) == ["day_held_out", "night_held_out"]
    # Two seeds, two sets, two checkpoints, each once.
    assert held_out.groupby(["seed", "evaluation_set", "checkpoint"]).size().tolist() == [1] * 8
    assert len(rows[rows["sweep"] == "one"]) == len(swept)
