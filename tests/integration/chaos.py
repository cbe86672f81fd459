"""Starting a sweep as a person does, and killing it with everything that it started."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

ROOT = Path(__file__).parents[2]
CHECKPOINT_EVERY_STEPS = 5
TINY = [
    "--set", "city.height=32", "--set", "city.width=64", "--set", "train.height=32", "--set", "train.width=64",
    "--set", "city.images={day: {train: 16, val: 4, test: 4}, night: {train: 4, val: 4, test: 4}}",
    "--set", f"train.loop.checkpoint_every_steps={CHECKPOINT_EVERY_STEPS}", "--set", "train.loop.log_every_steps=5",
]  # fmt: skip


@dataclass
class Kills:
    """What a run of kills saw."""

    count: int = 0
    output: str = ""
    checkpoints: list[int] = field(default_factory=list)
    """Newest checkpoint of each stage in progress at each kill."""


def command(storage: Path, *options: str) -> list[str]:
    """The sweep's command line."""
    words = ["sweep", "demo", "--name", "chaos", "--sampler", "random", "--storage", str(storage), *TINY, *options]
    return [sys.executable, "-m", "orchestrator", *words]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start in a session of its own, so that a kill reaches everything."""
    with log.open("ab") as file:
        return subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)


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


def run_with_kills(words: list[str], storage: Path, log: Path, *, kills: int, seed: int, longest: float) -> Kills:
    """Kill ``kills`` times at random moments, then let it end; each start is the same command."""
    draw = random.Random(seed)
    seen = Kills()
    while True:
        process = start(words, log)
        patience = draw.uniform(3, longest) if seen.count < kills else 240
        try:
            code = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            kill_tree(process)
            assert seen.count < kills, f"the sweep did not end:\n{log.read_text()[-3000:]}"
            seen.count += 1
            seen.checkpoints += [
                max(int(path.name[5:]) for path in partial.glob("step-*"))
                for partial in (storage / "partial").glob("*")
                if list(partial.glob("step-*"))
            ]
            time.sleep(0.2)
            continue
        assert code == 0, log.read_text()[-3000:]
        seen.output = log.read_text()
        return seen


def scores(storage: Path) -> pd.DataFrame:
    """Rows of the leaderboard with plain pandas, sorted by what names them."""
    frame = pd.read_parquet(storage / "leaderboard" / "scores")
    return frame.sort_values(["trial", "evaluation_set", "checkpoint"]).reset_index(drop=True)


def resumed_steps(output: str) -> list[int]:
    """Steps at which trainings continued."""
    return [int(step) for step in re.findall(r"continues at step (\d+) of", output)]
