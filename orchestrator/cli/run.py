"""``nightshift run``: every arm once per seed, to the end."""

from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.bar import bar


@options.grouped
def run(
    experiment: Annotated[str, typer.Argument(help="A name from `nightshift list`.")],
    arms: Annotated[str | None, typer.Option(help="Comma-separated; all when not given.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from --seed on.")] = 1,
    name: Annotated[str | None, typer.Option(help="Name on the leaderboard. [default: run-EXPERIMENT]")] = None,
    *,
    setup: options.Setup,
) -> None:
    """Run every arm of an experiment once per seed; what exists already is reused.

    Example: `nightshift run demo --seeds 3`
    """
    from orchestrator.book import Book
    from orchestrator.cli.completeness import exit_unless_complete
    from orchestrator.cli.progress import Progress
    from orchestrator.cli.tables import print_overview
    from orchestrator.explain import unseeded
    from orchestrator.files import disk_full, naming_full_disk
    from orchestrator.graph import Seeds
    from orchestrator.launch import run_trials
    from orchestrator.ledger import Ledger
    from orchestrator.preflight import check_data, check_methods, find_arms, place
    from orchestrator.provenance import command
    from orchestrator.signals import Interrupted
    from orchestrator.trial import Trial
    from results.compact import refresh

    graph, request = setup.configured(experiment)
    chosen = find_arms(graph, arms)
    here = place(graph, chosen, request, bar)
    ledger = Ledger(here.storage, name or f"run-{experiment}")
    trials = [
        Trial.of(graph, arm, {}, Seeds(setup.seed, one, setup.seed_scope or "declared"), here)
        for one in range(setup.seed, setup.seed + seeds)
        for arm in chosen
    ]
    for trial in trials[: len(chosen)]:
        check_methods(trial)
    check_data(here, bar)
    for arm in unseeded(trials):
        note = "no stage follows the seed of a trial, so its seeds are one run (--seed-scope all moves every stage)"
        typer.echo(f"{arm}: {note}", err=True)
    outcomes: dict[str, str] = {}
    """Trial → status, of those that have ended."""
    again = f"the same command: {command()}"
    try:
        with naming_full_disk(here.storage, again), Progress(len(trials), verbose=True) as progress:
            book = Book(ledger, progress.event)
            for trial, outcome in run_trials(trials, book.event):
                if outcome.failure_class == "disk_full":
                    raise disk_full(f"{trial.id}: {outcome.message}", here.storage, again)
                progress.ended(trial, book.enter(trial, outcome))
                outcomes[trial.id] = outcome.status
    except Interrupted as stop:
        ended = f"{len(outcomes)} of {len(trials)} trials have ended"
        raise stop.named(f"{ledger.name} was stopped: {ended}; `{command()}` continues it") from None
    refresh(here.storage)
    print_overview(here.storage, ledger.name, [trial.id for trial in trials])
    exit_unless_complete(outcomes, retry=lambda status: command())
