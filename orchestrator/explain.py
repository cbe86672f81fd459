"""Why a stage is a hit or a miss, and what it would cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.graph import Planned, flatten
from orchestrator.trial import Trial
from trainers.config import Config

ABSENT = "—"


@dataclass(frozen=True)
class StageStatus:
    """One line of ``show``."""

    name: str
    method: str
    key: str
    hit: bool
    why: str
    inputs: list[str]
    seconds: float | None
    """What it took; for a miss, an estimate from the nearest artifact, ``None`` where there is none."""


def status_of_stages(trial: Trial) -> Iterator[StageStatus]:
    """The status of every stage of a trial, inputs first."""
    store = Store(trial.place.storage)
    names = {one.key: name for name, one in trial.planned.items()}
    missing: set[str] = set()
    for name, one in trial.planned.items():
        artifact = store.peek(one.method.name, one.key)
        if artifact is None:
            missing.add(name)
            near = nearest_artifact(store, one)
            why, seconds = reason(one, near, names, missing), estimate(one, near)
        else:
            why, seconds = f"made {artifact.manifest['created_utc'][:16].replace('T', ' ')} UTC", artifact.seconds
        inputs = list(one.stage.sources().values())
        yield StageStatus(name, one.method.name, one.key, artifact is not None, why, inputs, seconds)


def unseeded(trials: Sequence[Trial]) -> list[str]:
    """The arms of which several trials are one and the same: none of their stages follows the trial's seed."""
    found: dict[str, list[frozenset[str]]] = {}
    for trial in trials:
        found.setdefault(trial.arm.name, []).append(frozenset(one.key for one in trial.planned.values()))
    return [arm for arm, keys in found.items() if len(keys) > 1 and len(set(keys)) == 1]


def nearest_artifact(store: Store, planned: Planned) -> Artifact | None:
    """The artifact of the same method that differs in the fewest entries of its content."""
    candidates = store.published(planned.method.name)
    return min(candidates, key=lambda artifact: len(differences(planned, artifact)), default=None)


def differences(planned: Planned, artifact: Artifact) -> dict[str, tuple[Any, Any]]:
    """Entry of the content → (wanted, the artifact's), where they differ."""
    wanted, known = dict(flatten(planned.content)), dict(flatten(artifact.manifest["content"]))
    return {
        name: (wanted.get(name, ABSENT), known.get(name, ABSENT))
        for name in sorted({*wanted, *known})
        if wanted.get(name, ABSENT) != known.get(name, ABSENT)
    }


def reason(planned: Planned, near: Artifact | None, names: dict[str, str], missing: set[str]) -> str:
    """In words: what is different from the nearest artifact."""
    if near is None:
        return f"no artifact of {planned.method.name} yet"
    parts = []
    for name, (wanted, known) in differences(planned, near).items():
        kind, _, rest = name.partition(".")
        if kind == "inputs":
            source = names.get(str(wanted), rest)
            parts.append(f"input {source} {'is missing' if source in missing else 'is another one'}")
        elif kind == "data":
            parts.append(f"data {rest} changed" if known != ABSENT else f"data {rest}")
        elif kind == "config":
            parts.append(f"{rest} {wanted} (nearest has {known})")
        else:
            parts.append(f"{name} {wanted} (nearest has {known})")
    shown = "; ".join(parts[:4])
    return shown + (f"; and {len(parts) - 4} more" if len(parts) > 4 else "")


def estimate(planned: Planned, near: Artifact | None) -> float | None:
    """Seconds of the nearest artifact, scaled by the steps where both have some."""
    if near is None:
        return None
    steps = planned.content["config"].get("loop", {}).get("steps")
    known = near.manifest["content"].get("config", {}).get("loop", {}).get("steps")
    return near.seconds * (steps / known if steps and known else 1.0)


def describe_fields(config: Config, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, meaning) of every field."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config) and field.description is None:
            yield from describe_fields(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            yield f"{prefix}{name}", shown, " ".join((field.description or "").split())
