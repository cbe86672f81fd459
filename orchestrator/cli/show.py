"""``nightshift list`` and ``nightshift show``: what there is, and what a run would do."""

import json as json_module
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import options
from orchestrator.cli.bar import bar

if TYPE_CHECKING:
    from orchestrator.explain import StageStatus


def list_experiments(json: options.Json = False) -> None:
    """Every experiment with its presets, arms and searches.

    Example: `nightshift list`
    """
    from orchestrator.experiments import EXPERIMENTS, build, presets

    lines: list[dict[str, Any]] = []
    for name in EXPERIMENTS:
        experiment = build(name)
        lines.append(
            {
                "experiment": name,
                "presets": list(presets(name)),
                "arms": list(experiment.arms),
                "searches": list(experiment.searches),
                "summary": experiment.summary,
            }
        )
    if json:
        typer.echo(json_module.dumps(lines))
        return
    for line in lines:
        typer.echo(f"{line['experiment']}: {line['summary']}")
        for part in ("presets", "arms", "searches"):
            typer.echo(f"    {part}: {', '.join(line[part])}")


@options.grouped
def show(
    experiment: Annotated[str, typer.Argument(help="A name from `nightshift list`.")],
    arms: Annotated[str | None, typer.Option(help="Comma-separated; all when not given.")] = None,
    fields: Annotated[bool, typer.Option("--fields", help="Every field with its value and meaning.")] = False,
    *,
    setup: options.Setup,
    json: options.Json = False,
) -> None:
    """The graph with each stage's key, hit or miss and why, and what a run would cost.

    Nothing runs; of what it reads, the storage remembers the fingerprints of data sets.

    Example: `nightshift show demo --set train.loss.alpha=0.3`
    """
    from orchestrator.explain import status_of_stages
    from orchestrator.graph import Seeds
    from orchestrator.preflight import find_arms, place
    from orchestrator.trial import Trial

    graph, request = setup.configured(experiment)
    if fields:
        _print_fields(graph)
        return
    chosen = find_arms(graph, arms)
    here = place(graph, chosen, request, bar, only_look=True)
    trials = [
        Trial.of(graph, arm, {}, Seeds(setup.seed, setup.seed, setup.seed_scope or "declared"), here) for arm in chosen
    ]
    statuses: dict[str, StageStatus] = {}
    """Key → status: stages that several arms share, under whatever name, are made once."""
    for trial in trials:
        for status in status_of_stages(trial):
            statuses.setdefault(status.key, status)
    if json:
        typer.echo(json_module.dumps({"experiment": experiment, "stages": [vars(one) for one in statuses.values()]}))
        return
    _print_statuses(list(statuses.values()))
    for trial in trials:
        typer.echo(f"arm {trial.arm.name}: trial {trial.id}, configuration {trial.config_hash}")


def _print_statuses(statuses: "list[StageStatus]") -> None:
    import pandas as pd

    from orchestrator.cli.tables import show_frame

    frame = pd.DataFrame(
        [
            {
                "stage": one.name,
                "method": one.method,
                "inputs": ", ".join(one.inputs),
                "key": one.key[:10],
                "seconds": one.seconds,
                "": "hit" if one.hit else "miss",
                "why": one.why,
            }
            for one in statuses
        ]
    )
    show_frame(frame)
    missing = [one for one in statuses if not one.hit]
    known = [one.seconds for one in missing if one.seconds is not None]
    unknown = f", and {len(missing) - len(known)} stages of unknown cost" if len(known) < len(missing) else ""
    if missing:
        sys.stdout.write(f"a run would make {len(missing)} stages: about {sum(known):.0f} s{unknown}\n")
    else:
        sys.stdout.write("every stage is a hit: a run costs nothing\n")


def _print_fields(graph: Any) -> None:
    """Every field of the stages that are no evaluations."""
    from orchestrator.explain import describe_fields

    for stage in graph.stages.values():
        if stage.method == "evaluation":
            continue
        typer.echo(f"{stage.name} ({stage.method})")
        for name, value, meaning in describe_fields(stage.config):
            typer.echo(f"    {stage.name}.{name} = {value}\n        {meaning}")
