"""Options that several verbs share, and what they add up to."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trainers.errors import UserError

if TYPE_CHECKING:
    from orchestrator.graph import Experiment
    from orchestrator.preflight import Request

Storage = Annotated[
    Path | None,
    typer.Option(help="Folder of artifacts, sweeps and leaderboard. [default: $NIGHTSHIFT_STORAGE or ./runs]"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Conditions = Annotated[
    list[str] | None, typer.Option(help="Condition such as 'miou>0.4' or 'evaluation_set=day_val'. Repeatable.")
]
Published = Annotated[bool, typer.Option("--published", help="The results that come with the code.")]
Format = Literal["table", "csv", "json", "markdown", "latex"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take groups of options: Typer sees every field of a parameter that is annotated with a dataclass."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)
    }

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        own = inspect.signature(groups[name], eval_str=True).parameters.values() if name in groups else [parameter]
        parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    vars(flat)["__signature__"] = signature.replace(parameters=parameters)
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


@dataclass(frozen=True)
class Setup:
    """What is run, on which data, by how many workers."""

    init: Annotated[
        str | None,
        typer.Option(metavar="[STAGE=]artifact:KEY|PATH", help="Start a training stage from these weights."),
    ] = None
    storage: Storage = None
    preset: Annotated[str | None, typer.Option(help="Settings and sizes; the experiment's first by default.")] = None
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds one folder per data set.")] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.FIELD=VALUE", help="Change a field, or data.NAME.root=DIR. Repeatable."),
    ] = None
    config_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--config", help="YAML file with the keys of --set. Repeatable: a later file replaces what it names."
        ),
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0
    seed_scope: Annotated[
        Literal["declared", "last", "all"] | None,
        typer.Option(help="Stages that follow the trial's seed: as declared, only the last training, or all."),
    ] = None
    workers: Annotated[int, typer.Option(help="Ray Train workers that walk a trial together; 0: no group.")] = 0
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs of each worker; 0.5: two trials share a device. [default: 1 where there are any]"),
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU cores of each worker. [default: the machine's cores, shared by the trials that run at once: one "
            "in `run`, as many as fit in `sweep`; 1 on a cluster]",
        ),
    ] = None
    collective_timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="A worker that waits longer for the others takes them as lost."),
    ] = 1800.0

    @property
    def where(self) -> Path:
        """The storage."""
        from orchestrator.storage import storage_folder

        return storage_folder(self.storage)

    def values(self, experiment: "Experiment") -> dict[str, Any]:
        """``stage.field`` or ``data.NAME.root`` → value, from --config, --init and --set; --set wins.

        Paths become absolute, so that ``resume`` finds them from anywhere.
        """
        from orchestrator.overrides import (
            absolute_paths,
            artifact_features,
            initial_weights,
            parse_assignments,
            read_config_files,
        )

        found = read_config_files(self.config_files or [])
        found |= initial_weights(experiment, self.init, self.where) if self.init else {}
        return artifact_features(absolute_paths(found | parse_assignments(self.assignments or [])), self.where)

    def configured(self, name: str) -> "tuple[Experiment, Request]":
        """The experiment with every change from the command line, and what is asked of this machine."""
        from orchestrator.experiments import build
        from orchestrator.overrides import assign, split_roots
        from orchestrator.preflight import Request

        experiment = build(name, self.preset)
        changes, roots = split_roots(self.values(experiment))
        request = Request(
            storage=self.where,
            data_root=self.data_root,
            roots=roots,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
            cpus_per_worker=self.cpus_per_worker,
            collective_seconds=self.collective_timeout,
        )
        return assign(experiment, changes), request


@dataclass(frozen=True)
class Output:
    """The form of an answer."""

    csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output, every column.")] = False
    json: Json = False
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table on standard output.")] = False
    latex: Annotated[bool, typer.Option("--latex", help="A LaTeX table (booktabs) on standard output.")] = False

    @property
    def form(self) -> Format:
        """The one that was asked for; a table without any.

        Raises:
            UserError: several were asked for.
        """
        form: Format | None = only_one(vars(self))
        return form or "table"


def only_one(wanted: Mapping[Any, Any]) -> Any:
    """The name of the only option with a value, or ``None``.

    Raises:
        UserError: there are several.
    """
    given = [name for name, value in wanted.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in given)} exclude each other: give one of them")
    return given[0] if given else None
