"""The exit code of a command that runs trials."""

import pytest
import typer

from orchestrator.cli.completeness import exit_unless_complete
from orchestrator.trial import Outcome
from tests.orchestrator.test_search import drive, new_search


def closing(statuses, capsys, **options):
    with pytest.raises(typer.Exit) as stop:
        exit_unless_complete(statuses, retry=lambda status: f"again {status}", **options)
    assert stop.value.exit_code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_nothing_is_said_where_all_is_there():
    exit_unless_complete({"ta": "finished", "tb": "pruned"}, retry=str)


def test_what_failed_diverged_or_is_open_is_counted_and_named(capsys):
    statuses = {"ta": "finished", "tb": "failed", "tc": "diverged", "td": "failed"}
    line = closing(statuses, capsys, num_open=26, resume="go on")
    assert "2 of 4 trials failed (tb, td): `again failed`" in line
    assert "1 of 4 trials diverged (tc): `again diverged`" in line
    assert "26 trials are open: `go on`" in line


def test_of_many_failures_five_are_named(capsys):
    line = closing({f"t{number}": "failed" for number in range(9)}, capsys)
    assert "9 of 9 trials failed (t0, t1, t2, t3, t4, …)" in line


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_search_counts_the_trials_that_are_open(tmp_path, num_seeds):
    search = new_search(tmp_path, trials=4, num_seeds=num_seeds)
    assert search.num_open == search.total == 4 * num_seeds
    drive(search, 2)
    assert search.num_open == 4 * num_seeds - 2
    drive(search)
    assert search.num_open == 0


def test_the_further_seeds_of_a_pruned_configuration_are_not_open(tmp_path):
    from dataclasses import replace

    from orchestrator.ledger import Ledger
    from orchestrator.search import Search

    sweep = replace(new_search(tmp_path, trials=1, num_seeds=3).sweep, first_seed_races=True)
    search = Search(sweep, Ledger(tmp_path, "race"))
    drive(search, 1, Outcome("pruned"))
    assert search.num_open == 0
