"""Errors of the connection to Ray, without a cluster."""

import os
from unittest import mock

import pytest
import ray

from orchestrator.cluster import connect, refused
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


def test_a_start_that_takes_too_long_is_one_line_with_the_cause(monkeypatch):
    monkeypatch.setattr(
        ray, "init", failing(Exception("The current node timed out during startup. This\ncould happen"))
    )
    with pytest.raises(UserError, match="did not start on this machine in time") as caught:
        connect()
    assert "\n" not in str(caught.value)
    assert "again when it is less so" in str(caught.value)


def test_another_error_of_the_start_is_not_hidden(monkeypatch):
    monkeypatch.setattr(ray, "init", failing(ValueError("num_cpus must be positive")))
    with pytest.raises(ValueError, match="must be positive"):
        connect()


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("UNAUTHENTICATED: no token", "wants its own token"),
        ("could not connect to 10.0.0.1", "no Ray cluster answers at 10.0.0.1:6379"),
    ],
)
def test_a_cluster_that_lets_nobody_in_is_one_line_with_the_fix(monkeypatch, said, fix):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "init", failing(RuntimeError(said)))
    with pytest.raises(UserError, match=fix) as caught:
        connect()
    assert "RAY_AUTH_MODE=token" in str(caught.value)
    assert str(caught.value) == refused(RuntimeError(said), "10.0.0.1:6379")
