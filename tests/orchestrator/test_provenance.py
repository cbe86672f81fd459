import subprocess
import sys

import pytest

from orchestrator import provenance
from orchestrator.ledger import Ledger
from orchestrator.provenance import software_changes


def now(monkeypatch, *, torch, commit, changes=None):
    monkeypatch.setattr(provenance, "versions", lambda: {"python": "3.11.7", "torch": torch})
    monkeypatch.setattr(provenance, "git_state", lambda: (commit, changes))


def test_what_changed_between_two_starts_of_a_sweep_is_told_once(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, "one")
    now(monkeypatch, torch="2.8.0", commit="0123456789abcdef")
    assert software_changes(ledger) == ""
    assert software_changes(ledger) == ""
    assert len(ledger.read("software")) == 1, "what did not change is not written again"
    now(monkeypatch, torch="2.9.0", commit="0123456789abcdef", changes="77aa")
    assert software_changes(ledger) == "torch 2.8.0 → 2.9.0, code 0123456789 → 0123456789 with changes 77aa"
    assert software_changes(ledger) == ""
    now(monkeypatch, torch="2.9.0", commit=None)
    assert software_changes(ledger) == "code 0123456789 with changes 77aa → absent"
    assert list(ledger.read("software")["0002"]) == ["python", "torch"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository whose ``orchestrator/provenance.py`` this code claims to be."""
    monkeypatch.delenv(provenance.GIT_VARIABLE, raising=False)
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "provenance.py").write_text("")
    (tmp_path / "other.txt").write_text("")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "orchestrator" / "provenance.py"))

    def git(*words):
        identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    return git


def test_a_file_that_git_does_not_know_yet_changes_the_code(checkout, tmp_path):
    checkout("add", "-A")
    checkout("commit", "-m", "all")
    commit, changes = provenance.git_state.__wrapped__()
    assert commit is not None
    assert changes is None
    (tmp_path / "orchestrator" / "new.py").write_text("x = 1\n")
    assert provenance.git_state.__wrapped__()[1] is not None


def test_the_commit_of_a_repository_around_an_installed_copy_is_not_ours(checkout):
    checkout("add", "other.txt")
    checkout("commit", "-m", "their project")
    assert provenance.git_state.__wrapped__() == (None, None)


def test_the_code_is_that_which_would_be_imported(tmp_path, monkeypatch):
    before = provenance.code_hash.__wrapped__()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "results"]:
        monkeypatch.delitem(sys.modules, name)
    assert provenance.code_hash.__wrapped__() != before
