"""Commands that are submitted, and what is refused before anything is sent."""

import os
import signal

import pytest

from orchestrator import cluster, provenance
from orchestrator.submit import asks_for_token, check_command, send
from trainers.errors import UserError

VERBS = ("run", "sweep", "resume")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "demo", "--storage", "runs"], "--storage runs is relative"),
        (["sweep", "demo", "--storage=./runs"], "--storage ./runs is relative"),
        (["run", "demo", "--storage", "/s", "--data-root", "data"], "--data-root data is relative"),
        (["run", "camvid", "--storage", "/s", "--set", "data.camvid.root=../c"], "data.camvid.root ../c is relative"),
        (["run", "camvid", "--storage", "/s", "--set=data.camvid.root=c"], "data.camvid.root c is relative"),
        (["sweep", "demo"], "needs --storage with an absolute path"),
        (["swep", "demo"], "a command of nightshift"),
        ([], "a command of nightshift"),
    ],
)
def test_a_command_that_the_job_would_refuse_is_refused_here(words, said, monkeypatch):
    monkeypatch.delenv("NIGHTSHIFT_STORAGE", raising=False)
    with pytest.raises(UserError, match=said):
        check_command(words, VERBS)


def test_an_absolute_storage_is_enough(monkeypatch):
    monkeypatch.delenv("NIGHTSHIFT_STORAGE", raising=False)
    check_command(["sweep", "demo", "--storage", "/shared"], VERBS)
    monkeypatch.setenv("NIGHTSHIFT_STORAGE", "/shared")
    check_command(["sweep", "demo"], VERBS)


class Jobs:
    """Keeps what is submitted."""

    def submit_job(self, **options):
        self.options = options
        return "job_1"


def test_the_commit_travels_with_the_code_that_has_no_repository(tmp_path, monkeypatch):
    jobs = Jobs()
    monkeypatch.setenv("NIGHTSHIFT_STORAGE", "/shared")
    monkeypatch.setattr("orchestrator.submit.git_state", lambda: ("abc", "123"))
    assert send(jobs, ["sweep", "demo", "--set", "a=b c"], tmp_path) == "job_1"
    assert jobs.options["entrypoint"] == "python -m orchestrator sweep demo --set 'a=b c'"
    variables = jobs.options["runtime_env"]["env_vars"]
    assert variables["NIGHTSHIFT_STORAGE"] == "/shared"
    monkeypatch.setenv(provenance.GIT_VARIABLE, variables[provenance.GIT_VARIABLE])
    provenance.git_state.cache_clear()
    assert provenance.git_state() == ("abc", "123")
    provenance.git_state.cache_clear()


def test_a_verb_that_is_not_there_is_one_line(nightshift):
    done = nightshift("submit", "--", "swep", "demo")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "nightshift submit -- sweep demo" in done.err


def test_an_address_where_nobody_listens_asks_for_no_token():
    assert not asks_for_token("http://127.0.0.1:1")
    assert not asks_for_token("auto")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Token authentication is enabled but no authentication token was found", "RAY_AUTH_MODE=token"),
        ("Unauthenticated: InvalidAuthToken", "~/.ray/auth_token"),
        ("Failed to connect to Ray", "no Ray cluster answers at x:1 (Failed to connect to Ray); if it runs, its token"),
    ],
)
def test_a_refusal_of_the_cluster_says_what_to_do(error, said):
    assert said in cluster.refused(RuntimeError(error), "x:1")


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_relative_path_in_a_submitted_job_is_refused(refused, nightshift, monkeypatch, tmp_path, verb):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    done = nightshift(verb, "demo")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--storage runs is relative" in done.err
    refused(verb, "demo", "--data-root", "data", what=("--data-root data is relative", "absolute"))
    refused(verb, "camvid", "--set", "data.camvid.root=data", what=("data.camvid.root data is relative", "absolute"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_stops_following_is_told_that_the_job_goes_on(nightshift, tmp_path, monkeypatch, number):
    class Following(Jobs):
        def submit_job(self, **options):
            return "job_1"

        async def tail_job_logs(self, job):
            yield "a line of the job\n"
            os.kill(os.getpid(), number)
            yield "a line that nobody waits for\n"

    monkeypatch.setattr("orchestrator.submit.client", lambda address: (Following(), "http://head:8265"))
    (tmp_path / "train.py").write_text("")
    done = nightshift("submit", "--folder", tmp_path, "--", "sweep", "demo", "--storage", "/shared")
    assert done.code == 128 + number
    assert done.out == "a line of the job\n"
    assert "job_1 keeps running; `ray job logs --follow job_1` shows it" in done.err.splitlines()[-1]
