"""What is sent with a job, and what is refused before anything is sent."""

import pytest

from orchestrator import cluster, provenance
from orchestrator.submit import asks_for_token, check_command, pack, send
from trainers.errors import UserError

VERBS = ("run", "sweep", "resume")


@pytest.fixture
def project(tmp_path):
    for name in (
        "orchestrator/graph.py",
        "README.md",
        "notes.tmp",
        "keep.tmp",
        ".venv/bin/python",
        "runs/leaderboard/x.parquet",
        ".git/config",
        "deep/__pycache__/x.pyc",
        "deep/runs/y",
        "data/big.bin",
        "nightshift.egg-info/PKG-INFO",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.tmp\n!keep.tmp\n/data/\n")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    return tmp_path


def test_what_git_ignores_and_what_no_job_needs_stays_here(project, tmp_path_factory):
    parcel = pack(project)
    names = {".gitignore", "README.md", "keep.tmp", "orchestrator/graph.py"}
    assert {file.as_posix() for file in parcel.files} == names
    assert parcel.size_bytes == sum((project / name).stat().st_size for name in names)
    target = tmp_path_factory.mktemp("staged")
    parcel.copy_to(target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == names
    assert (target / "orchestrator/graph.py").read_text() == "orchestrator/graph.py"


def test_too_much_is_refused_with_the_ten_largest_files(project):
    for number in range(12):
        (project / f"weights{number:02d}.bin").write_bytes(bytes(1_000_000 + 100_000 * number))
    with pytest.raises(UserError) as error:
        pack(project, limit_bytes=5_000_000)
    said = str(error.value)
    assert "18.6 MB to send, and a job may have 5.0 MB" in said
    listed = said.partition("largest files: ")[2].split(", ")
    assert listed == [f"weights{number:02d}.bin {1 + number / 10:.1f} MB" for number in range(11, 1, -1)]
    assert len(pack(project, limit_bytes=19_000_000).files) == 16


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
