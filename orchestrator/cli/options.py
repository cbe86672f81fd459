"""Options that several verbs share, and what they add up to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from orchestrator.graph import Experiment

Storage = Annotated[
    Path | None,
    typer.Option(help="Folder of artifacts, sweeps and leaderboard. [default: $NIGHTSHIFT_STORAGE or ./runs]"),
]
Preset = Annotated[str | None, typer.Option(help="Settings and sizes; the experiment's first when not given.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds one folder per data set.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.FIELD=VALUE", help="Change a field, or data.NAME.root=DIR. Repeatable."),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file with the keys of --set.")]
Seed = Annotated[int, typer.Option(min=0, help="First seed.")]
SeedScope = Annotated[
    Literal["declared", "last", "all"] | None,
    typer.Option(help="Stages that follow the trial's seed: as declared, only the last training, or all."),
]
Workers = Annotated[int, typer.Option(help="Ray Train workers that walk a trial together; 0: no group.")]
Gpus = Annotated[
    float | None,
    typer.Option(help="GPUs of each worker; 0.5: two trials share a device. [default: 1 where there are any]"),
]
Cpus = Annotated[int | None, typer.Option(min=1, help="CPU cores of each worker.")]
CollectiveTimeout = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="A worker that waits longer for the others takes them as lost.")
]
Init = Annotated[
    str | None,
    typer.Option(metavar="[STAGE=]artifact:KEY|PATH", help="Start a training stage from these weights."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def values(
    experiment: "Experiment",
    assignments: list[str] | None,
    config_file: Path | None,
    init: str | None,
    storage: Path,
) -> dict[str, Any]:
    """``stage.field`` or ``data.NAME.root`` → value, from --config, --init and --set; --set wins.

    Data roots become absolute, so that ``resume`` finds them from anywhere.
    """
    from orchestrator.overrides import initial_weights, parse_assignments, read_config_file
    from orchestrator.preflight import absolute

    found = read_config_file(config_file) if config_file else {}
    found |= initial_weights(experiment, init, storage) if init else {}
    found |= parse_assignments(assignments or [])
    for name, value in found.items():
        if name.startswith("data.") and name.endswith(".root") and isinstance(value, str):
            found[name] = str(absolute(Path(value), name))
    return found


def configure(
    name: str,
    *,
    preset: str | None,
    assignments: list[str] | None,
    config_file: Path | None,
    init: str | None = None,
    storage: Path | None = None,
) -> "tuple[Experiment, dict[str, Path]]":
    """The experiment with every change from the command line, and the data roots among them."""
    from orchestrator.experiments import build
    from orchestrator.overrides import assign, split_roots
    from orchestrator.preflight import default_storage

    experiment = build(name, preset)
    fields, roots = split_roots(values(experiment, assignments, config_file, init, storage or default_storage()))
    return assign(experiment, fields), roots
