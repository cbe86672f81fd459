from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers.checkpoint import load_state, newest_checkpoint, save_state, write_checkpoint
from trainers.errors import UserError


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "state.txt").write_text(content) and None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_checkpoint_replaces_the_older(tmp_path: Path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None
    for step in (2, 10, 100):
        path = write_checkpoint(tmp_path / "stage", step, text(f"at {step}"))
        assert newest_checkpoint(tmp_path / "stage") == path
        assert (path / "state.txt").read_text() == f"at {step}"
        assert names(tmp_path / "stage") == [f"step-{step:08d}"]


def test_of_two_whole_checkpoints_the_newer_wins(tmp_path: Path):
    """A kill between the rename and the removal leaves both."""
    for step in (90, 100):
        (tmp_path / f"step-{step:08d}").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000100"


def test_a_kill_while_writing_leaves_the_older_one_in_force(tmp_path: Path):
    write_checkpoint(tmp_path, 2, text("two"))

    def killed(folder: Path) -> None:
        (folder / "state.txt").write_text("thr")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, 3, killed)
    (leftover,) = [name for name in names(tmp_path) if name.startswith(".aside-")]
    newest = newest_checkpoint(tmp_path)
    assert newest == tmp_path / "step-00000002"
    assert (newest / "state.txt").read_text() == "two"
    write_checkpoint(tmp_path, 3, text("three"))
    assert leftover not in names(tmp_path)
    assert names(tmp_path) == ["step-00000003"]


def test_nothing_that_only_looks_like_a_checkpoint_is_taken(tmp_path: Path):
    for name in ("step-7", "step-00000009.partial", ".aside-00000009", "step-final"):
        (tmp_path / name).mkdir()
    assert newest_checkpoint(tmp_path) is None


def test_a_replayed_step_keeps_what_is_there(tmp_path: Path):
    first = write_checkpoint(tmp_path, 2, text("first"))
    assert write_checkpoint(tmp_path, 2, text("again")) == first
    assert (first / "state.txt").read_text() == "first"
    assert names(tmp_path) == ["step-00000002"]


def test_state_comes_back_as_it_was(tmp_path: Path):
    state = {"weights": {"a": torch.arange(3.0)}, "step": 3, "curves": [(1, "loss", 0.1)], "best": -float("inf")}
    save_state(tmp_path / "state.pt", state)
    loaded = load_state(tmp_path / "state.pt")
    assert torch.equal(loaded["weights"].pop("a"), state["weights"].pop("a"))
    assert loaded == state


def test_a_torn_file_is_named_wherever_it_is_torn(tmp_path: Path):
    path = tmp_path / "step-00000002" / "state.pt"
    path.parent.mkdir()
    save_state(path, {"a": torch.randn(50), "b": 1})
    whole = path.read_bytes()
    for length in [0, *range(1, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cannot be read") as error:
            load_state(path)
        message = str(error.value)
        assert "\n" not in message
        assert str(path) in message
        assert f"delete {path.parent} to start this stage afresh" in message


def test_a_garbled_file_is_never_another_error(tmp_path: Path):
    path = tmp_path / "state.pt"
    save_state(path, {"a": torch.randn(50), "b": 1})
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 9):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            load_state(path)
        except UserError:
            refused += 1
    assert refused > 20


def test_a_missing_file_and_code_in_a_file_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="FileNotFoundError"):
        load_state(tmp_path / "state.pt")
    torch.save({"a": Path("/")}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="cannot be read"):
        load_state(tmp_path / "state.pt")
