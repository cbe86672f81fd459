"""The space of a search: which fields of which stages, and that an experiment can go wherever it leads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.graph import Experiment
from orchestrator.overrides import assign, field_names
from trainers.errors import UserError, nearest
from trainers.registry import method


def search_space(experiment: Experiment, name: str | None) -> dict[str, object]:
    """``stage.field`` → Optuna distribution of a search of the experiment (default: its first).

    Raises:
        UserError: no such search, or one of its fields does not exist in the stage's configuration.
    """
    from search_spaces import space

    if not experiment.searches:
        raise UserError(f"{experiment.name} has no search; use `nightshift run {experiment.name}`")
    if name is None:
        name = next(iter(experiment.searches))
    if name not in experiment.searches:
        raise UserError(f"{experiment.name} has no search {name!r}: {nearest(name, experiment.searches)}")
    distributions: dict[str, object] = {}
    for stage, space_name in experiment.searches[name].items():
        for_method, fields = space(space_name)
        kind = method(experiment.stages[stage].method)
        if kind.name != for_method:
            raise UserError(f"the space {space_name} is for {for_method}, and the stage {stage} is {kind.name}")
        known = sorted(field_names(kind.config))
        if unknown := sorted(set(fields) - set(known)):
            raise UserError(
                f"the space {space_name} varies {unknown[0]!r}, which {for_method} does not have: "
                f"{nearest(unknown[0], known)}"
            )
        distributions |= {f"{stage}.{field}": distribution for field, distribution in fields.items()}
    return distributions


def check_space(experiment: Experiment, space: Mapping[str, Any]) -> None:
    """Both ends of every searched field, and every choice, must be values that the field allows.

    Raises:
        UserError: with the field and the value.
    """
    for name, distribution in space.items():
        for value in _ends(distribution):
            try:
                assign(experiment, {name: value})
            except UserError as error:
                raise UserError(f"the search space reaches values that are not allowed: {error}") from error


def check_space_methods(experiment: Experiment, space: Mapping[str, Any], roots: Mapping[str, Path]) -> None:
    """The methods of the searched stages must accept all first ends together, and all last ones; imports torch.

    Raises:
        UserError: with the values and what the method says.
    """
    for end in (0, -1):
        values = {name: _ends(distribution)[end] for name, distribution in space.items()}
        stages = assign(experiment, values).stages
        for name in sorted({field.partition(".")[0] for field in values}):
            try:
                method(stages[name].method).load().check(stages[name].config, dict(roots))
            except UserError as error:
                own = ", ".join(f"{field} {value}" for field, value in values.items() if field.startswith(f"{name}."))
                raise UserError(f"the search space reaches {own}, where {error}") from error


def _ends(distribution: Any) -> Sequence[Any]:
    choices: Sequence[Any] | None = getattr(distribution, "choices", None)
    return choices if choices is not None else (distribution.low, distribution.high)
