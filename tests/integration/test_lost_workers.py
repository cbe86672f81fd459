"""Processes that are killed while they hold something: trials of a sweep, and the maker of a stage that others want."""

import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from orchestrator.ledger import Ledger
from tests.integration.chaos import (
    CHECKPOINT_EVERY_STEPS,
    TINY,
    command,
    kill_tree,
    redone_steps,
    resumed_steps,
    run_with_kills,
    scores,
    start,
)


def trained_processes(driver: int, steps: Path) -> list[psutil.Process]:
    """Processes of this driver's trials that have run for longer than a checkpoint takes.

    Killing one while it still imports torch, again and again, would prove nothing.
    """
    executed = Counter(int(line.split()[2]) for line in steps.read_text().splitlines()) if steps.exists() else Counter()
    family = psutil.Process(driver).children(recursive=True)
    return [process for process in family if executed[process.pid] > CHECKPOINT_EVERY_STEPS and process.is_running()]


@pytest.mark.slow
def test_a_trial_killed_every_ten_seconds_costs_attempts_and_no_trial(tmp_path: Path) -> None:
    trials, log, executed = 4, tmp_path / "log", tmp_path / "steps"
    first = command(tmp_path / "first", "--trials", "1", "--set", "train.loop.steps=40")
    run_with_kills(first, log, [], steps=tmp_path / "first.steps", seconds=600)
    batches_per_second = scores(tmp_path / "first")["images_per_second"].iloc[0] / 4
    steps = max(50, int(30 * batches_per_second))
    words = command(tmp_path / "s", "--trials", str(trials), "--set", f"train.loop.steps={steps}")
    driver = start(words, log, steps=executed)
    draw, kills = random.Random(0), 0
    try:
        began = last = time.monotonic()
        while driver.poll() is None and time.monotonic() - began < 2400:
            time.sleep(0.5)
            if time.monotonic() - last < 10:
                continue
            candidates = trained_processes(driver.pid, executed)
            if candidates:
                draw.choice(candidates).kill()
                kills, last = kills + 1, time.monotonic()
        seconds = time.monotonic() - began
        assert driver.poll() == 0, log.read_text()[-3000:]
    finally:
        kill_tree(driver)
    assert kills >= 4
    frame, redone, ledger = scores(tmp_path / "s"), redone_steps(executed), Ledger(tmp_path / "s", "chaos")
    assert (frame["status"] == "finished").all()
    assert frame["trial"].nunique() == trials
    made = [stage for stages in frame.drop_duplicates("trial")["stages"] for stage in stages]
    worked = [stage["seconds"] for stage in made if stage["name"] == "train"]
    assert min(worked) >= 20, "trials that end between two kills prove nothing"
    classes = Counter(record["failure_class"] for record in ledger.read("losses").values())
    assert set(classes) == {"worker_lost"}
    # A process that is killed between two trials is nobody's loss.
    assert trials <= classes.total() <= kills
    assert len(ledger.read("attempts")) == trials + classes.total()
    assert log.read_text().count("its process died (worker_lost)") == classes.total()
    assert resumed_steps(log.read_text()), "a killed training goes on from its checkpoint"
    assert max(redone) <= CHECKPOINT_EVERY_STEPS
    print(
        f"\n{kills} kills in {seconds:.0f} s, {trials} trials of {min(worked):.0f}–{max(worked):.0f} s of training, "
        f"losses {dict(classes)}, re-done steps {sum(redone)} of {trials * steps} (at most {max(redone)} at once)"
    )


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_who_waits_for_a_stage_takes_over_when_its_maker_is_killed(tmp_path: Path) -> None:
    """Two runs of the same trial on one storage: one works, the other waits, and goes on from the checkpoint."""
    words = [sys.executable, "-m", "orchestrator", "run", "demo", "--storage", str(tmp_path / "s"), *TINY]
    words += ["--cpus-per-worker", "1", "--set", "train.loop.steps=400"]
    first = start([*words, "--name", "first"], tmp_path / "first.log")
    second: subprocess.Popen[bytes] | None = None
    try:
        wait_for(lambda: list((tmp_path / "s" / "partial").glob("*/step-*")), 300)
        second = start([*words, "--name", "second"], tmp_path / "second.log")
        wait_for(lambda: f"waiting process {first.pid}" in (tmp_path / "second.log").read_text(), 300)
        newest = max(int(path.name[5:]) for path in (tmp_path / "s" / "partial").glob("*/step-*"))
        kill_tree(first)
        assert second.wait(timeout=600) == 0, (tmp_path / "second.log").read_text()[-3000:]
    finally:
        kill_tree(first)
        if second is not None:
            kill_tree(second)
    text = (tmp_path / "second.log").read_text()
    (resumed,) = resumed_steps(text)
    assert resumed >= newest
    assert re.search(r"1/1  finished", text)


def wait_for(condition, seconds):  # type: ignore[no-untyped-def]
    """Poll until ``condition()`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)
