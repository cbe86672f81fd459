"""A checkpoint reaches the disk beside the next steps: whole, in order, and never later than it is needed."""

import threading
from pathlib import Path

import pytest

from trainers import checkpoint, context
from trainers.checkpoint import newest_checkpoint
from trainers.context import SAVE_AND_EXIT, PlainContext


class Disk:
    """A disk whose flushes wait for ``go``."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.reached = threading.Event()

    def flush(self, folder: Path) -> None:
        self.reached.set()
        assert self.go.wait(60)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch):
    slow = Disk()
    monkeypatch.setattr(checkpoint, "sync_tree", slow.flush)
    yield slow
    slow.go.set()


def fill(text: str):
    return lambda folder: (folder / "state.txt").write_text(text) and None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*"))


def test_a_report_does_not_wait_for_the_disk_and_the_end_does(tmp_path: Path, disk: Disk):
    told: list[float] = []
    one = PlainContext(tmp_path, on_report=lambda metrics: told.append(metrics["step"]))
    one.report({"step": 2}, fill("two"))
    assert disk.reached.wait(60)
    assert told == [2]
    assert names(tmp_path) == []
    disk.go.set()
    one.settle()
    assert (tmp_path / "step-00000002" / "state.txt").read_text() == "two"


def test_what_a_checkpoint_holds_is_written_before_the_next_step_can_change_it(tmp_path: Path, disk: Disk):
    state = ["two"]
    one = PlainContext(tmp_path)
    one.report({"step": 2}, lambda folder: (folder / "state.txt").write_text(state[0]) and None)
    state[0] = "three"
    disk.go.set()
    one.settle()
    assert (tmp_path / "step-00000002" / "state.txt").read_text() == "two"


def test_checkpoints_follow_one_another(tmp_path: Path):
    one = PlainContext(tmp_path)
    for step in range(1, 20):
        one.report({"step": step}, fill(str(step)))
    assert one.resume() == tmp_path / "step-00000019"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000019"]


@pytest.mark.parametrize("stop", [SystemExit(SAVE_AND_EXIT), SystemExit(0), KeyboardInterrupt(), RuntimeError("no")])
def test_whoever_stops_a_trial_finds_its_checkpoint_whole(tmp_path: Path, stop: BaseException):
    def refuse(metrics: context.Metrics) -> None:
        raise stop

    with pytest.raises(type(stop)):
        PlainContext(tmp_path, on_report=refuse).report({"step": 2}, fill("two"))
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000002"


def test_a_disk_that_fills_up_in_the_background_is_told_at_the_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    one = PlainContext(tmp_path)
    one.report({"step": 1}, fill("one"))
    one.settle()
    monkeypatch.setattr(checkpoint, "sync_tree", full)
    one.report({"step": 2}, fill("two"))
    with pytest.raises(OSError, match="No space left"):
        one.report({"step": 3}, fill("three"))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    one.settle()


def test_who_lost_the_lease_while_the_disk_was_slow_publishes_nothing(tmp_path: Path, disk: Disk):
    """The guard is asked again beside the rename."""
    held = [True, False]

    def guard() -> None:
        if not held.pop(0):
            raise PermissionError("taken over")

    one = PlainContext(tmp_path, guard=guard)
    one.report({"step": 2}, fill("two"))
    disk.go.set()
    with pytest.raises(PermissionError, match="taken over"):
        one.settle()
    assert names(tmp_path) == []
