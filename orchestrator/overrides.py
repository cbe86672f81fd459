"""``--set stage.field=value`` and ``--config file.yaml``: changing fields of an experiment from outside."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.artifacts import verify_named
from orchestrator.cluster import absolute
from orchestrator.graph import Experiment, flatten
from orchestrator.weights import find_artifact
from trainers.components.configs import is_weights_path
from trainers.config import Config
from trainers.data.datasets import DATASETS
from trainers.errors import UserError, nearest
from trainers.strict_yaml import YamlError, read_yaml


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["train.loss.alpha=0.3"]`` → ``{"train.loss.alpha": 0.3}``; values are YAML, those of path fields literal.

    Raises:
        UserError: a value cannot be read, or a field is given twice.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        name = name.strip()
        if not separator or not name:
            raise UserError(f"--set {assignment!r} is not of the form stage.field=value")
        value = _parse_value(name, text)
        if name in parsed and parsed[name] != value:
            raise UserError(f"--set {name} is given twice, as {parsed[name]!r} and {value!r}; give it once")
        parsed[name] = value
    return _without_overlap(parsed, "--set")


def _parse_value(name: str, text: str) -> Any:
    is_quoted = text.strip()[:1] in ("'", '"')
    if is_path_field(name) and not is_quoted and text.strip() not in ("", "null", "~"):
        return text.strip()  # A path may hold " #" and ": ", which would end it in YAML.
    try:
        return read_yaml(text)
    except YamlError as error:
        raise UserError(f"--set {name}: the value {text!r} cannot be read ({error})") from error


def read_config_files(paths: Iterable[Path]) -> dict[str, Any]:
    """Merge YAML files with the keys of ``--set``, nested or dotted; what a later file says replaces the earlier."""
    merged: dict[str, Any] = {}
    for path in paths:
        values = read_config_file(path)
        for name in [name for name in merged if any(_overlap(name, given) for given in values)]:
            del merged[name]
        merged |= values
    return merged


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a YAML file with the keys of ``--set``, nested or dotted.

    Raises:
        UserError: it cannot be read, or gives a field twice.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise UserError(f"--config {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"--config {path} must hold a mapping such as train: {{loss: {{alpha: 0.3}}}}")
    values: dict[str, Any] = {}
    for name, value in flatten({str(key): value for key, value in content.items()}):
        if name in values:
            raise UserError(f"--config {path} gives {name} twice, nested and dotted; give it once")
        values[name] = value
    return _without_overlap(values, f"--config {path}")


def _without_overlap(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Refuse a field beside a part of itself: which of the two would count?"""
    for name in values:
        for other in values:
            if name != other and _overlap(name, other):
                raise UserError(f"{origin} gives both {min(name, other)} and {max(name, other)}; give one of them")
    return values


def _overlap(name: str, other: str) -> bool:
    shorter, longer = sorted((name, other), key=len)
    return name == other or longer.startswith(f"{shorter}.")


def is_path_field(name: str) -> bool:
    """Whether ``name`` takes a path: ``data.NAME.root``, or weights and features, which may also be a mere name."""
    is_root = name.startswith("data.") and name.endswith(".root")
    return is_root or name.rpartition(".")[2] in ("weights", "features")


def absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every data root, weights file and file of a features network as an absolute path."""

    def resolved(name: str, value: Any) -> Any:
        if not isinstance(value, str) or not is_path_field(name):
            return value
        network, separator, path = value.partition(":")
        if name.endswith(".features") and separator and is_weights_path(path) and not path.startswith("artifact:"):
            return f"{network}:{absolute(Path(path), name)}"
        is_path = name.startswith("data.") or (name.endswith(".weights") and is_weights_path(value))
        return str(absolute(Path(value), name)) if is_path else value

    return {name: resolved(name, value) for name, value in values.items()}


def artifact_features(values: Mapping[str, Any], storage: Path) -> dict[str, Any]:
    """``values`` with every ``segmenter[@LAYER]:artifact:KEY`` as the path of that artifact's folder.

    Raises:
        UserError: no or several such artifacts.
    """

    def found(value: Any) -> Any:
        network, separator, key = value.partition(":artifact:") if isinstance(value, str) else ("", "", "")
        is_segmenter = separator and network.partition("@")[0] == "segmenter"
        if not is_segmenter:
            return value
        return f"{network}:{find_artifact(f'artifact:{key}', storage).verified().folder.resolve()}"

    return {name: found(value) for name, value in values.items()}


def split_roots(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Separate ``data.<data set>.root`` from the fields of stages; what they name of an artifact is verified.

    Raises:
        UserError: there is no such data set, or an artifact is damaged.
    """
    verify_named(values.values())
    fields, roots = {}, {}
    for name, value in values.items():
        if not name.startswith("data."):
            fields[name] = value
            continue
        parts = name.split(".")
        if len(parts) != 3 or parts[2] != "root" or not isinstance(value, str):
            raise UserError(f"{name}={value!r}: of data sets only data.NAME.root=DIR can be set")
        if parts[1] not in DATASETS:
            raise UserError(f"unknown data set {parts[1]!r} in {name}: {nearest(parts[1], DATASETS)}")
        roots[parts[1]] = Path(value).expanduser()
    return fields, roots


def initial_weights(experiment: Experiment, text: str, storage: Path) -> dict[str, Any]:
    """``--init [STAGE=]artifact:KEY|PATH`` as an assignment of the stage's ``network.weights``.

    Without a stage it is the last training stage of the experiment's arms, if they share one. ``KEY`` may be the
    beginning of a key; its ``best.pt`` is taken.

    Raises:
        UserError: no or several such artifacts, or stages.
    """
    stage, separator, where = text.partition("=")
    if not separator:
        lasts = {arm.train for arm in experiment.arms.values()}
        if len(lasts) > 1:
            raise UserError(f"--init {text}: say which stage, as in --init {min(lasts)}={text}; one of {sorted(lasts)}")
        stage, where = lasts.pop(), text
    if not where.startswith("artifact:"):
        return {f"{stage}.network.weights": str(absolute(Path(where), "--init"))}
    return {f"{stage}.network.weights": str(find_artifact(where, storage).file("best.pt").resolve())}


def assign(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """``experiment`` with ``{"stage.field": value}`` set and validated.

    Raises:
        UserError: an unknown stage or field (with the nearest), or a value that the field does not allow.
    """
    by_stage: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        stage, _, dotted = name.partition(".")
        if stage not in experiment.stages:
            known = sorted(experiment.stages)
            raise UserError(f"{experiment.name} has no stage {stage!r} (in {name}): {nearest(stage, known)}")
        by_stage.setdefault(stage, {})[dotted] = value
    configs = {
        stage: _assign_fields(experiment.stages[stage].config, fields, stage) for stage, fields in by_stage.items()
    }
    return experiment.with_configs(configs)


def _assign_fields(config: Config, fields: Mapping[str, Any], stage: str) -> Config:
    values = config.model_dump()
    known = sorted(field_names(type(config)))
    for dotted, value in fields.items():
        if dotted not in known and not _is_entry(values, dotted):
            raise UserError(f"{stage} has no field {dotted!r}: {_nearest_field(dotted, known, stage)}")
        target = values
        *parents, last = dotted.split(".")
        for parent in parents:
            target = target[parent]
        target[last] = value
    try:
        changed = type(config).model_validate(values)
    except ValidationError as error:
        raise UserError(one_line(error, stage)) from error
    for dotted, value in fields.items():
        if isinstance(value, bool) and not isinstance(field_value(changed, dotted), bool):
            raise UserError(f"{stage}.{dotted}: takes no true or false (got {str(value).lower()})")
    return changed


def field_value(config: Config, dotted: str) -> Any:
    """The value of a field, or of an entry of a field that holds a mapping, by its dotted name."""
    value: Any = config
    for part in dotted.split("."):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def _is_entry(values: Mapping[str, Any], dotted: str) -> bool:
    """Whether ``dotted`` leads into a field that holds a plain mapping, such as ``images.day.train``."""
    target: Any = values
    for part in dotted.split("."):
        if not isinstance(target, Mapping) or part not in target:
            return False
        target = target[part]
    return True


def _nearest_field(dotted: str, known: Sequence[str], stage: str) -> str:
    """A hint; a right last name in the wrong place is the commonest mistake."""
    last = dotted.rpartition(".")[2]
    if same := [name for name in known if name.rpartition(".")[2] == last]:
        return "did you mean " + " or ".join(f"{stage}.{name}" for name in same) + "?"
    return nearest(dotted, known)


def field_names(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    """Dotted names of all fields, those that hold models included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config) and "model_serializer" not in vars(kind):
            yield from field_names(kind, f"{prefix}{name}.")


def one_line(error: ValidationError, prefix: str) -> str:
    """Every problem of a pydantic error in one line, with the value that was given."""
    problems = []
    for problem in error.errors(include_url=False):
        where = ".".join([prefix, *(str(part) for part in problem["loc"])])
        text = problem["msg"].removeprefix("Value error, ")
        says_value = "got " in text and repr(problem["input"]) in text
        given = "" if says_value or isinstance(problem["input"], Mapping) else f" (got {problem['input']!r})"
        problems.append(f"{where}: {text[:1].lower() + text[1:]}{given}")
    return "; ".join(problems)
