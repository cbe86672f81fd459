"""Options that several verbs share, and what they add up to."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trainers.errors import UserError

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
Csv = Annotated[bool, typer.Option("--csv", help="CSV on standard output, every column.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="A Markdown table on standard output.")]
Latex = Annotated[bool, typer.Option("--latex", help="A LaTeX table (booktabs) on standard output.")]
Where = Annotated[
    list[str] | None, typer.Option(help="Condition such as 'miou>0.4' or 'evaluation_set=day_val'. Repeatable.")
]
Published = Annotated[bool, typer.Option("--published", help="The results that come with the code.")]
Format = Literal["table", "csv", "json", "markdown", "latex"]


def output_format(*, csv: bool, json: bool, markdown: bool, latex: bool) -> Format:
    """The one form of output that was asked for; a table without any.

    Raises:
        UserError: several were asked for.
    """
    wanted: dict[Format, bool] = {"csv": csv, "json": json, "markdown": markdown, "latex": latex}
    return only_one(wanted) or "table"


def only_one(wanted: Mapping[Any, Any]) -> Any:
    """The name of the only option with a value, or ``None``.

    Raises:
        UserError: there are several.
    """
    given = [name for name, value in wanted.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in given)} exclude each other: give one of them")
    return given[0] if given else None


def values(
    experiment: "Experiment",
    assignments: list[str] | None,
    config_file: Path | None,
    init: str | None,
    storage: Path,
) -> dict[str, Any]:
    """``stage.field`` or ``data.NAME.root`` → value, from --config, --init and --set; --set wins.

    Paths become absolute, so that ``resume`` finds them from anywhere.
    """
    from orchestrator.overrides import absolute_paths, initial_weights, parse_assignments, read_config_file

    found = read_config_file(config_file) if config_file else {}
    found |= initial_weights(experiment, init, storage) if init else {}
    return absolute_paths(found | parse_assignments(assignments or []))


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
