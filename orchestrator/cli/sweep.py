"""``nightshift sweep``: a search over one arm."""

from typing import Annotated, Literal

import typer

from orchestrator.cli import options


def sweep(
    experiment: Annotated[str, typer.Argument(help="A name from `nightshift list`.")],
    arm: Annotated[str | None, typer.Option(help="The arm to search; not needed where there is one.")] = None,
    space: Annotated[str | None, typer.Option(help="The search; the experiment's first when not given.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each configuration, from --seed on.")] = 1,
    sampler: Annotated[Literal["tpe", "random", "grid"], typer.Option(help="How configurations are chosen.")] = "tpe",
    name: Annotated[str | None, typer.Option(help="The same name continues. [default: EXPERIMENT-SPACE]")] = None,
    storage: options.Storage = None,
    preset: options.Preset = None,
    data_root: options.DataRoot = None,
    assignments: options.Set = None,
    config_file: options.ConfigFile = None,
    seed: options.Seed = 0,
    seed_scope: options.SeedScope = None,
    workers: options.Workers = 0,
    gpus_per_worker: options.Gpus = None,
    cpus_per_worker: options.Cpus = None,
) -> None:
    """Search the fields of a space with Ray Tune and Optuna; the same command again continues or extends it.

    Example: `nightshift sweep demo --trials 6`
    """
    from orchestrator.cli.progress import Progress
    from orchestrator.cli.tables import print_overview
    from orchestrator.graph import Seeds
    from orchestrator.ledger import Ledger
    from orchestrator.preflight import Request, check_methods, default_storage, place, search_space, the_arm
    from orchestrator.search import Search, Sweep, specification
    from orchestrator.sweep import refuse_workers, run_sweep
    from orchestrator.trial import Trial

    graph, roots = options.configure(experiment, preset=preset, assignments=assignments, config_file=config_file)
    chosen = the_arm(graph, arm)
    refuse_workers(workers)
    request = Request(
        storage=storage or default_storage(),
        data_root=data_root,
        roots=roots,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker or 1,
    )
    distributions = search_space(graph, space)
    here = place(graph, [chosen], request)
    what = Sweep(
        experiment=graph,
        arm=chosen,
        space=distributions,
        trials=trials,
        num_seeds=seeds,
        seeds=Seeds(seed, seed, seed_scope or "last"),
        sampler=sampler,
        place=here,
    )
    check_methods(Trial.of(graph, chosen, {}, what.seeds, here))
    ledger = Ledger(here.storage, name or f"{experiment}-{space or next(iter(graph.searches))}")
    ledger.open(specification(what))
    search = Search(what, ledger)
    from orchestrator.searcher import Watcher  # Imports Ray: a mistake is answered before.

    with Progress(search.total, done=len(search.known), verbose=False) as progress:
        if search.known:
            progress.note(f"{ledger.name}: {len(search.known)} of {search.total} trials have ended already")
        run_sweep(search, Watcher(progress.event, progress.ended))
    print_overview(here.storage, ledger.name)
    if not any(outcome.status == "finished" for outcome in search.outcomes.values()):
        raise typer.Exit(1)
