import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers.checkpoint import cure, load_state, newest_checkpoint, save_state, whole_checkpoint, write_checkpoint
from trainers.context import PlainContext
from trainers.data.fingerprint import hash_file
from trainers.errors import MethodWarning, UserError
from trainers.unreadable import SAVE_ADVICE


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
            load_state(path, cure(path.parent))
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


def test_every_flipped_bit_of_a_checkpoint_is_named_and_none_is_read(tmp_path: Path):
    def write(folder: Path) -> None:
        (folder / "labels").mkdir()
        (folder / "labels" / "0.png").write_bytes(b"label")
        save_state(folder / "state.pt", {"a": torch.randn(50), "b": 1})

    checkpoint = write_checkpoint(tmp_path, 2, write)
    assert whole_checkpoint(tmp_path) == checkpoint
    for name in ("state.pt", "labels/0.png"):
        path = checkpoint / name
        whole = path.read_bytes()
        for place in range(0, len(whole), 61):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(UserError, match=r"differs from checksums\.json") as error:
                whole_checkpoint(tmp_path)
            assert str(path) in str(error.value)
            assert f"delete {checkpoint} to start this stage afresh" in str(error.value)
        path.unlink()
        with pytest.raises(UserError, match=f"{name} is missing"):
            whole_checkpoint(tmp_path)
        path.write_bytes(whole)
    assert whole_checkpoint(tmp_path) == checkpoint


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_checksums_that_cannot_be_read_are_damage(tmp_path: Path, text: str):
    checkpoint = write_checkpoint(tmp_path, 2, lambda folder: None)
    (checkpoint / "checksums.json").write_text(text)
    with pytest.raises(UserError, match=r"is damaged .*checksums\.json"):
        whole_checkpoint(tmp_path)


def test_a_file_that_the_checksums_do_not_name_is_damage(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path, 2, text("two"))
    (checkpoint / ".DS_Store").touch()
    assert whole_checkpoint(tmp_path) == checkpoint
    (checkpoint / "checksums.json").write_text("{}")
    with pytest.raises(UserError, match=r"state\.txt is not named in checksums\.json"):
        whole_checkpoint(tmp_path)


def test_a_checkpoint_from_before_checksums_is_taken_with_a_warning(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path, 2, lambda folder: None)
    (checkpoint / "checksums.json").unlink()
    with pytest.warns(MethodWarning, match="before checkpoints had checksums"):
        assert whole_checkpoint(tmp_path) == checkpoint


def test_a_context_reads_a_checkpoint_whole_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    context = PlainContext(tmp_path)
    assert context.resume() is None
    checkpoint = write_checkpoint(tmp_path, 2, text("two"))
    read: list[Path] = []
    monkeypatch.setattr(
        "trainers.checkpoint.hash_file", lambda path, full: read.append(path) or hash_file(path, full=full)
    )
    assert [context.resume() for _ in range(3)] == [checkpoint] * 3
    assert read == [checkpoint / "state.txt"]


WHAT_IT_IS = {
    "an HTML page": b"\n<!doctype html>\n<html>\n",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n",
    "text that begins with 'weights come later'": b"weights come later",
    "empty": b"",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    "a safetensors file": (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1]}}' + bytes(64),
    "a gzip archive": b"\x1f\x8b\x08" + bytes(30),
    "its end is missing or damaged": b"PK\x03\x04" + bytes(200),
    "damaged or no file of PyTorch": b"\x00\x01\x02" * 30,
}


@pytest.mark.parametrize("kind", WHAT_IT_IS)
def test_the_refusal_of_a_user_s_file_says_what_it_is_and_never_what_to_delete(tmp_path: Path, kind: str):
    path = tmp_path / "weights.pth"
    path.write_bytes(WHAT_IT_IS[kind])
    with pytest.raises(UserError, match=kind) as error:
        load_state(path, SAVE_ADVICE)
    message = str(error.value)
    assert str(path) in message
    assert message.endswith("give a file that torch.save(model.state_dict(), PATH) wrote")
    assert "delete" not in message
    assert message.isprintable()


@pytest.mark.parametrize("is_zip", [True, False])
def test_objects_beside_tensors_are_named(tmp_path: Path, is_zip: bool):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1), "b": Path("/")}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(UserError, match=r"it holds pathlib\.PosixPath beside tensors") as error:
        load_state(path, SAVE_ADVICE)
    assert str(error.value).isprintable()


def test_an_archive_of_other_files_is_told_from_a_torn_one(tmp_path: Path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/readme.txt", "x")
    with pytest.raises(UserError, match=r"zip archive of other files \('weights/readme.txt'\): unpack it first"):
        load_state(path, SAVE_ADVICE)


def test_an_artifact_s_file_is_restored_or_made_again_and_never_deleted(tmp_path: Path):
    (tmp_path / "best.pt").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(UserError, match=r"restore the file.*made again by a run") as error:
        load_state(tmp_path / "best.pt")
    assert "delete" not in str(error.value)
