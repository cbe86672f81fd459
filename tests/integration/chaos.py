"""Starting a sweep as a person does, and killing it with everything that it started."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import psutil

ROOT = Path(__file__).parents[2]
CHECKPOINT_EVERY_STEPS = 10
TINY = [
    "--set", "city.height=32", "--set", "city.width=64", "--set", "train.height=32", "--set", "train.width=64",
    "--set", "city.images={day: {train: 16, val: 4, test: 4}, night: {train: 4, val: 4, test: 4}}",
    "--set", f"train.loop.checkpoint_every_steps={CHECKPOINT_EVERY_STEPS}", "--set", "train.loop.log_every_steps=10",
]  # fmt: skip
LIGHT = ["--set", "train.network.encoder=tu-lcnet_035"]
"""30 MB a checkpoint; those of a ResNet-18 are 209 MB."""
NOT_OF_THE_TRIAL = [
    "attempt", "created_utc", "seconds", "seconds_saved", "images_per_second", "peak_memory_bytes", "stages",
    "git_commit", "git_diff_hash", "versions", "hardware", "command",
]  # fmt: skip
"""Columns of the leaderboard that say how and when a trial ran, not what it found."""


def command(storage: Path, *options: str) -> list[str]:
    """The sweep's command line."""
    words = ["sweep", "demo", "--name", "chaos", "--sampler", "random", "--storage", str(storage)]
    return [sys.executable, "-m", "orchestrator", *words, *TINY, *LIGHT, *options]


def start(words: list[str], log: Path, *, steps: Path | None = None) -> subprocess.Popen[bytes]:
    """Start in a session of its own, so that a kill reaches everything; ``steps`` will hold every step that it runs."""
    environment = dict(os.environ)
    if steps is not None:
        counting = str(Path(__file__).with_name("count_steps"))
        paths = [counting, *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"STEP_LOG": str(steps), "PYTHONPATH": os.pathsep.join(paths)}
    with log.open("ab") as file:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process and everything that it started."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=10)


WAYS = ("SIGKILL", "SIGINT", "SIGINT twice", "SIGTERM", "SIGHUP")
"""How a driver ends; all but the first reach its whole process group, as from a terminal."""


def end_driver(process: subprocess.Popen[bytes], way: str) -> int:
    """End the driver in one of ``WAYS``; its exit code, once nothing that it started is left."""
    if way == "SIGKILL":
        kill_tree(process)
        return process.returncode
    family = psutil.Process(process.pid).children(recursive=True)
    name, _, twice = way.partition(" ")
    for _ in range(2 if twice else 1):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, getattr(signal, name))
        time.sleep(0.1)
    code = process.wait(timeout=90)
    left = psutil.wait_procs(family, timeout=20)[1]
    assert not left, f"{way} left {[member.name() for member in left]}"
    return code


def run_with_kills(
    words: list[str],
    log: Path,
    moments: list[Callable[[], bool]],
    *,
    steps: Path,
    seconds: float,
    ways: Sequence[str] = ("SIGKILL",),
    codes: Counter[tuple[str, int]] | None = None,
) -> int:
    """Start the command, end it when the first of ``moments`` says so, start it again, and so on; then let it end.

    ``ways`` take turns; ``codes`` counts how each ended. Returns how many ends there were: fewer than moments where the
    command ended first. ``seconds`` limits each start.
    """
    kills = 0
    while True:
        process = start(words, log, steps=steps)
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None:
                assert time.monotonic() < deadline, f"no end after {seconds} s:\n{log.read_text()[-3000:]}"
                if kills < len(moments) and moments[kills]():
                    break
                time.sleep(0.05)
            else:
                assert process.returncode == 0, log.read_text()[-3000:]
                return kills
            way = ways[kills % len(ways)]
            code = end_driver(process, way)
        finally:
            kill_tree(process)
        kills += 1
        if codes is not None:
            codes[way, code] += 1


def random_moments(steps: Path, count: int, *, total: int, seed: int, longest: float) -> list[Callable[[], bool]]:
    """Kills at random points of a sweep of ``total`` steps: so many steps have run, and up to ``longest`` seconds more.

    So a kill meets a training, an evaluation, the writing of rows or, where the next point has been passed, a start-up.
    """
    draw = random.Random(seed)

    def moment(point: int, seconds: float) -> Callable[[], bool]:
        reached: list[float] = []

        def is_now() -> bool:
            if not reached and (steps.read_bytes().count(b"\n") if steps.exists() else 0) >= point:
                reached.append(time.monotonic())
            return bool(reached) and time.monotonic() - reached[0] >= seconds

        return is_now

    points = sorted(draw.randrange(int(0.85 * total)) for _ in range(count))
    return [moment(point, draw.uniform(0, longest)) for point in points]


def scores(storage: Path) -> pd.DataFrame:
    """Rows of the leaderboard with plain pandas, sorted by what names them."""
    frame = pd.read_parquet(storage / "leaderboard" / "scores")
    return frame.sort_values(["trial", "evaluation_set", "checkpoint"]).reset_index(drop=True)


def curves(storage: Path) -> pd.DataFrame:
    """Curves of the leaderboard, sorted by what names their points."""
    frame = pd.read_parquet(storage / "leaderboard" / "curves").drop(columns="attempt")
    return frame.sort_values(["trial", "stage", "metric", "step"]).reset_index(drop=True)


def assert_same_results(found: Path, expected: Path) -> None:
    """The same rows and curves, bit for bit, but for what says how and when a trial ran."""
    rows = [scores(storage).drop(columns=NOT_OF_THE_TRIAL) for storage in (found, expected)]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
    pd.testing.assert_frame_equal(curves(found), curves(expected), check_exact=True)


def redone_steps(steps: Path) -> list[int]:
    """For each time that a training went on after a kill: the steps that ran again.

    Raises:
        AssertionError: a training left out a step, or one ran in two processes at once.
    """
    newest: dict[str, int] = {}
    redone = []
    for line in steps.read_text().splitlines():
        stage, number, _ = line.split()
        step, last = int(number), newest.get(stage, 0)
        assert step <= last + 1, f"{stage} went from step {last} to step {step}"
        if step != last + 1:
            redone.append(last - step + 1)
        newest[stage] = step
    return redone


def resumed_steps(output: str) -> list[int]:
    """Steps at which trainings continued."""
    return [int(step) for step in re.findall(r"continues at step (\d+) of", output)]
