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
