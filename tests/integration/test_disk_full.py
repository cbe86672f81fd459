"""A sweep on a file system that is too small: one line, what has ended is kept, and with more space it goes on."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from tests.integration.conftest import ROOT, TINY

pytestmark = pytest.mark.integration

MOUNT = """
set -e
mount -t tmpfs -o size=$SIZE tmpfs "$DISK"
set +e
"$@"; echo $? > "$OUT/first"
set -e
cp -r "$DISK/sweeps" "$DISK/leaderboard" "$OUT/" 2> /dev/null || true
mount -o remount,size=8g "$DISK"
"$PYTHON" -m orchestrator doctor --storage "$DISK" > "$OUT/doctor" || true
"$PYTHON" -m orchestrator resume one --storage "$DISK"
find "$DISK/partial" -type f > "$OUT/partial"
mkdir "$OUT/after"
cp -r "$DISK/sweeps" "$DISK/leaderboard" "$OUT/after/"
"""
MAIN = "from orchestrator import preflight; preflight.MIN_FREE_BYTES = 0; from orchestrator.cli import main; main()"


@pytest.mark.slow
def test_a_sweep_on_a_full_disk_stops_in_one_line_and_resumes(nightshift, tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("a file system of one's own needs unshare")
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    out.mkdir()
    steps = ("--set", "train.loop.steps=6", "--set", "train.loop.checkpoint_every_steps=3")
    sweep = ("sweep", "demo", *TINY, *steps, "--trials", "4", "--name", "one", "--storage", str(disk))
    environment = nightshift._environment | {
        "SIZE": "500m", "DISK": str(disk), "OUT": str(out), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, "sh", sys.executable, "-c", MAIN, *sweep],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "first").read_text().strip() == "2", done.stderr[-3000:]
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("nightshift: ")]
    for part in (str(disk), "is full", "MB are free", f"`nightshift resume one --storage {disk}` continues"):
        assert part in told
    assert "Traceback" not in done.stderr
    assert (out / "doctor").read_text() == "0 problems, 0 mended\n"
    early = len(list((out / "sweeps" / "one" / "outcomes").glob("*.json")))
    assert early < 4
    outcomes = [json.loads(path.read_text()) for path in (out / "after" / "sweeps" / "one" / "outcomes").glob("*")]
    assert [one["status"] for one in outcomes] == ["finished"] * 4
    rows = pd.read_parquet(out / "after" / "leaderboard" / "scores")
    assert rows["trial"].nunique() == 4
    assert not rows.duplicated(["trial", "evaluation_set", "checkpoint"]).any()
    assert (out / "partial").read_text() == ""


FILL = """
set -e
mount -t tmpfs -o size=900m tmpfs "$DISK"
set +e
(until ls "$DISK"/partial/*/step-* > /dev/null 2>&1; do sleep .2; done
 for size in 4k 512 512 512 512; do dd if=/dev/zero of="$DISK/fill-$(date +%N)" bs=$size 2> /dev/null; sleep 1; done) &
exec "$@"
"""


@pytest.mark.slow
def test_a_disk_that_fills_in_the_middle_says_so_in_one_line(nightshift, tmp_path):
    """To the last byte: then Tune cannot save its state either, and must not say so in a trace."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("a file system of one's own needs unshare")
    disk = tmp_path / "disk"
    disk.mkdir()
    steps = ("--set", "train.loop.steps=60", "--set", "train.loop.checkpoint_every_steps=3")
    sweep = ("sweep", "demo", *TINY, *steps, "--trials", "4", "--name", "one", "--storage", str(disk))
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FILL, "sh", sys.executable, "-c", MAIN, *sweep],
        cwd=ROOT, env=nightshift._environment | {"DISK": str(disk)}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = done.stderr.splitlines()
    assert "is full, 0 MB are free" in line
