"""``nightshift sweep``, ``resume`` and ``confirm``: a search over one arm, and what its winners are worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import options
from orchestrator.cli.bar import bar
from trainers.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger
    from orchestrator.search import Sweep
    from orchestrator.start import Retry, SweepRequest

Hours = Annotated[float | None, typer.Option(min=0, help="Hand out no further trial after so long.")]
SHOWN = 10
"""Configurations in the table at the end."""
RetryStatus = Annotated[
    Literal["failed", "diverged"] | None, typer.Option("--retry", help="Run trials that ended so again.")
]


@options.grouped
def sweep(
    experiment: Annotated[str, typer.Argument(help="A name from `nightshift list`.")],
    arm: Annotated[str | None, typer.Option(help="The arm to search; not needed where there is one.")] = None,
    space: Annotated[str | None, typer.Option(help="The search; the experiment's first when not given.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each configuration, from --seed on.")] = 1,
    objective: Annotated[
        Literal["source_miou", "target_infomax", "target_miou"] | None,
        typer.Option(help="What to maximize; target_miou reads target labels, an oracle. [default: the experiment's]"),
    ] = None,
    sampler: Annotated[Literal["tpe", "random", "grid"], typer.Option(help="How configurations are chosen.")] = "tpe",
    scheduler: Annotated[
        Literal["none", "asha", "median"], typer.Option(help="Early stopping; judges the first seed.")
    ] = "none",
    grace_steps: Annotated[int | None, typer.Option(min=1, help="First step that may stop a trial.")] = None,
    reduction_factor: Annotated[float, typer.Option(min=1.5, help="ASHA keeps about one in so many.")] = 3.0,
    cost: Annotated[
        Literal["seconds"] | None, typer.Option(help="Second objective, to be small; then nothing is pruned.")
    ] = None,
    warm_start: Annotated[str | None, typer.Option(help="Sweep whose results the sampler hears first.")] = None,
    hours: Hours = None,
    name: Annotated[str | None, typer.Option(help="The same name continues. [default: EXPERIMENT-SPACE]")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Five configurations, the fit, the cost; keeps only fingerprints of data.")
    ] = False,
    *,
    setup: options.Setup,
) -> None:
    """Search the fields of a space with Ray Tune and Optuna; the same command again continues or extends it.

    Example: `nightshift sweep demo --trials 6`
    """
    from orchestrator.experiments import build
    from orchestrator.preflight import absolute
    from orchestrator.start import SweepRequest

    where = absolute(setup.where, "--storage")
    graph = build(experiment, setup.preset)
    request = SweepRequest(
        experiment=experiment,
        arm=arm,
        space=space,
        preset=setup.preset,
        values=setup.values(graph),
        data_root=absolute(setup.data_root, "--data-root") if setup.data_root else None,
        trials=trials,
        seeds=seeds,
        seed=setup.seed,
        seed_scope=setup.seed_scope or "last",
        objective=objective,
        sampler=sampler,
        scheduler=scheduler,
        grace_steps=grace_steps,
        reduction_factor=reduction_factor,
        cost=cost,
        warm_start=warm_start,
        hours=hours,
        workers=setup.workers,
        gpus_per_worker=setup.gpus_per_worker,
        cpus_per_worker=setup.cpus_per_worker,
        collective_seconds=setup.collective_timeout,
        name=name or f"{experiment}-{space or next(iter(graph.searches), None)}",
    )
    if dry_run:
        _dry_run(request, where)
    else:
        _start(request, where, None)


def resume(
    name: Annotated[str, typer.Argument(help="Name of a sweep in the storage.")],
    trials: Annotated[int | None, typer.Option(min=1, help="More configurations.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="More seeds.")] = None,
    hours: Hours = None,
    retry: RetryStatus = None,
    trial: Annotated[str | None, typer.Option(help="With --retry: only this one.")] = None,
    storage: options.Storage = None,
) -> None:
    """Continue a sweep as it was last asked for, or extend it.

    Example: `nightshift resume demo-loss_alpha --trials 12 --retry failed`
    """
    from orchestrator.start import Retry, extended, load_request
    from orchestrator.storage import existing_storage

    if trial and not retry:
        raise UserError(f"--trial {trial} says which trial --retry runs again; add --retry failed or --retry diverged")
    where = existing_storage(storage)
    request = extended(load_request(where.resolve(), name), trials=trials, seeds=seeds, hours=hours)
    _start(request, where, Retry(frozenset({retry} if retry else ()), trial))


@options.grouped
def confirm(
    name: Annotated[str, typer.Argument(help="Name of a sweep in the storage.")],
    top: Annotated[int, typer.Option(min=1, help="So many of its best configurations.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds of each.")] = 3,
    storage: options.Storage = None,
    *,
    output: options.Output,
) -> None:
    """Run the best configurations of a sweep with fresh seeds, score the held-out splits, print the sweep's optimism.

    Runs as the sweep NAME-confirm; the same command again, or `resume NAME-confirm`, continues it.

    Example: `nightshift confirm demo-loss_alpha --top 3 --seeds 3`
    """
    from orchestrator.confirm import confirmation
    from orchestrator.storage import existing_storage

    form = output.form
    where = existing_storage(storage)
    _start(confirmation(where, name, top=top, seeds=seeds), where, form=form)


def _start(
    request: "SweepRequest", storage: Path, retry: "Retry | None" = None, *, form: options.Format = "table"
) -> None:
    """Prepare, run, and print the leaderboard, or what a confirmation found."""
    from orchestrator.files import naming_full_disk
    from orchestrator.start import prepare
    from orchestrator.storage import resume_command

    what = prepare(request, storage, retry, bar)  # Before Ray and pandas are imported: a mistake is answered at once.
    with naming_full_disk(what.place.storage, resume_command(what.place.storage, request.name)):
        _search(request, what, form)


def _search(request: "SweepRequest", what: "Sweep", form: options.Format) -> None:
    from orchestrator.cli.completeness import exit_unless_complete
    from orchestrator.cli.progress import Progress
    from orchestrator.cli.tables import print_overview
    from orchestrator.provenance import software_changes
    from orchestrator.search import Search
    from orchestrator.searcher import Watcher
    from orchestrator.start import opened, run
    from results.compact import refresh

    with opened(request, what) as ledger:
        search = Search(what, ledger)
        changes = software_changes(ledger)
        with Progress(search.total, done=len(search.known), verbose=False) as progress:
            for note in search.notes:
                progress.note(note)
            if changes:
                progress.note(f"since the last start of {ledger.name}: {changes}")
            if search.known:
                progress.note(f"{ledger.name}: {len(search.known)} of {search.total} trials have ended already")
            if what.experiment.objective == "target_miou":
                progress.note("target_miou is an oracle: it reads labels of the target, which no adaptation has")
            if request.cost:
                progress.note(f"two objectives, {what.experiment.objective} and {request.cost}: nothing is pruned")
            run(request, search, Watcher(progress.event, progress.ended, progress.note))
            for message in search.invalid:
                progress.note(f"invalid configuration, not run: {message}")
            if search.is_out_of_time:
                progress.note(f"--hours {request.hours:g} are over: no further trial was handed out")
    refresh(what.place.storage)
    if search.outcomes and request.confirms:
        _print_optimism(request, what, ledger, form)
    elif search.outcomes:
        print_overview(what.place.storage, ledger.name, most=SHOWN)
    exit_unless_complete(
        {trial: outcome.status for trial, outcome in search.outcomes.items()},
        retry=lambda status: f"{search.again} --retry {status}",
        num_open=search.num_open,
        resume=search.again,
    )
    if search.invalid:
        raise typer.Exit(1)


def _print_optimism(request: "SweepRequest", what: "Sweep", ledger: "Ledger", form: options.Format) -> None:
    """The sweep's scores against the confirmed ones."""
    from orchestrator.cli import views
    from orchestrator.cli.output import write
    from orchestrator.confirm import config_hashes
    from results.leaderboard import load, optimism

    assert request.confirms is not None
    table = optimism(
        load(what.place.storage),
        config_hashes(what),
        {known: evaluation.name for known, evaluation in what.arm.held_out.items()},
        sweep=request.confirms.sweep,
        confirmation=ledger.name,
        seeds=range(request.first_seed, request.first_seed + request.seeds),
    )
    absent = len(request.confirms.points) - (table["sweep_rank"].nunique() if len(table) else 0)
    if absent:
        typer.echo(
            f"{absent} of {len(request.confirms.points)} configurations have no finished fresh seed, or no row in "
            f"{request.confirms.sweep} that was made as they are now: nothing is confirmed of them",
            err=True,
        )
    if len(table):
        write(table, form, views.optimism, notes=views.optimism_notes(table, request.confirms.sweep))


def _dry_run(request: "SweepRequest", storage: Path) -> None:
    """Print sampled configurations, how many trials fit at once and the estimated hours; keep only fingerprints."""
    from orchestrator.dry_run import sampled_configurations, trial_seconds
    from orchestrator.resources import groups_that_fit, nodes_to_use
    from orchestrator.slot import wanted
    from orchestrator.start import prepare, rehearse

    what = prepare(request, storage, bar=bar)
    search = rehearse(request, what)
    for params in sampled_configurations(what, 5):
        typer.echo("  ".join(f"{name}={value}" for name, value in params.items()))
    total = search.num_open
    fit = min(groups_that_fit(nodes_to_use(), what.place.bundles), max(1, total))
    typer.echo(f"{total} trials to run, {fit} at a time, each with {wanted(what.place.bundles)}")
    seconds, unknown = trial_seconds(what)
    if unknown:
        typer.echo(f"cost unknown: nothing like {', '.join(unknown)} has been made in this storage yet")
    else:
        typer.echo(f"about {seconds:.0f} s a trial: {total * seconds / fit / 3600:.2f} hours")
