"""Errors of the connection to Ray, without a cluster."""

import os
import socket
from pathlib import Path
from unittest import mock

import pytest
import ray

from orchestrator import cluster
from orchestrator.cluster import connect, refused
from orchestrator.surroundings import (
    RAY_SOCKET,
    SHORT_FOLDERS,
    SOCKET_PATH_BYTES,
    ensure_short_temporary_folder,
    ensure_token,
)
from trainers.errors import UserError


def failing(error):
    def init(**options):
        raise error

    return init


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with mock.patch.dict(os.environ):  # ``connect`` prepares it for Ray.
        os.environ.pop("RAY_ADDRESS", None)
        yield


@pytest.fixture
def answering(monkeypatch):
    """A cluster that answers, whatever it says then."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(cluster, "require_answer", lambda address: None)


def test_a_start_that_takes_too_long_is_one_line_with_the_cause(monkeypatch):
    monkeypatch.setattr(
        ray, "init", failing(Exception("The current node timed out during startup. This\ncould happen"))
    )
    with pytest.raises(UserError, match="did not start on this machine") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert "again when it is less so" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (ValueError("The configured object store size exceeds /dev/shm size"), "--shm-size"),
        (OSError("Failed to bind port 6379: Address already in use"), "`ray stop`"),
        (PermissionError(13, "Permission denied", "/scratch/ray"), "give RAY_TMPDIR and HOME folders"),
        (RuntimeError("something\nelse"), "session_latest/logs"),
    ],
)
def test_whatever_ray_says_when_it_does_not_start_is_one_line_with_a_cure(monkeypatch, error, cure):
    monkeypatch.setattr(ray, "init", failing(error))
    with pytest.raises(UserError, match="did not start on this machine") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize("folders", [[], ["/checkout"]])
def test_workers_import_from_nowhere_but_where_the_driver_does(monkeypatch, folders):
    """What Ray adds to the list in ``init`` is the working directory; installed packages need no entry at all."""
    monkeypatch.setattr(cluster, "our_folders", lambda: folders)
    monkeypatch.setattr(cluster, "require_same_code", lambda: None)
    given = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    connect()
    given["job_config"]._py_driver_sys_path.extend(["/the/working/directory"])
    assert list(given["job_config"]._py_driver_sys_path) == folders


def test_a_cluster_that_nobody_answers_for_is_refused_in_seconds(monkeypatch):
    """Ray itself would try for more than three minutes without a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setattr(ray, "init", failing(AssertionError("Ray was asked")))
    with pytest.raises(UserError, match=f"no Ray cluster answers at 127.0.0.1:{port}.*unset RAY_ADDRESS"):
        connect()


def test_another_version_on_the_cluster_is_one_line(monkeypatch, answering):
    monkeypatch.setattr(ray, "init", failing(RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2")))
    with pytest.raises(UserError, match=r"runs another Ray or Python .* install the same versions here"):
        connect()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_is_too_long_for_sockets_is_replaced(variable, tmp_path, monkeypatch, capsys):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / ("x" * 110)))
    ensure_short_temporary_folder()
    assert os.environ[variable] in SHORT_FOLDERS
    assert f"note: {variable} is too long for sockets" in capsys.readouterr().err
    ensure_short_temporary_folder()
    assert capsys.readouterr().err == ""


def test_a_short_temporary_folder_stays(monkeypatch, capsys):
    monkeypatch.setenv("TMPDIR", "/scratch/me")
    ensure_short_temporary_folder()
    assert os.environ["TMPDIR"] == "/scratch/me"
    assert capsys.readouterr().err == ""


def test_sockets_fit_into_the_longest_folder_that_is_left_alone(tmp_path):
    folder = str(tmp_path).ljust(SOCKET_PATH_BYTES - len(RAY_SOCKET), "x")[: SOCKET_PATH_BYTES - len(RAY_SOCKET)]
    with pytest.raises(OSError, match="107"):
        ray._private.utils.validate_socket_filepath(f"{folder}x{RAY_SOCKET}")
    ray._private.utils.validate_socket_filepath(f"{folder}{RAY_SOCKET}")


@pytest.mark.parametrize("home", ["a file", "absent"])
def test_without_a_home_the_cluster_gets_a_token_all_the_same(home, tmp_path, monkeypatch):
    """Below a file nobody can make a folder, not even root."""
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    if home == "absent":
        monkeypatch.setattr(Path, "home", failing(RuntimeError("Could not determine home directory.")))
    ensure_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_token_that_is_given_stays(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    ensure_token()
    assert os.environ["RAY_AUTH_TOKEN"] == "mine"


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("UNAUTHENTICATED: no token", "wants its own token"),
        ("could not connect to 10.0.0.1", "no Ray cluster answers at 10.0.0.1:6379"),
    ],
)
def test_a_cluster_that_lets_nobody_in_is_one_line_with_the_fix(monkeypatch, answering, said, fix):
    monkeypatch.setattr(ray, "init", failing(RuntimeError(said)))
    with pytest.raises(UserError, match=fix) as caught:
        connect()
    assert "RAY_AUTH_MODE=token" in str(caught.value)
    assert str(caught.value) == refused(RuntimeError(said), "10.0.0.1:6379")
