"""Outcomes whose record is lost while their rows stand on the leaderboard: found, and written again from the rows.

Without its outcome a trial would run again; its stages are hits, and its rows would stand there twice for whoever reads
the files with plain pandas.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Store
from orchestrator.experiments import build
from orchestrator.files import publish_json
from orchestrator.ledger import Ledger, attempt_name, sweep_names
from results.store import read_scores
from trainers.errors import UserError

TRAINING = ("steps", "images_per_second", "peak_memory_bytes", "unlabeled_images", "unlabeled_ratio")
"""Columns that come from the result of the last training stage."""


def lost_outcomes(storage: Path) -> Iterator[tuple[str, str, int, Callable[[], object] | None]]:
    """Sweep, trial and attempt of each lost outcome, and what writes it again where its rows say enough."""
    if not (storage / "leaderboard").is_dir():
        return
    table, _ = read_scores(storage)
    ended = {name: set(Ledger(storage, name).names("outcomes")) for name in sweep_names(storage)}
    columns = (table.column(name).to_pylist() for name in ("sweep", "trial", "attempt"))
    places = {attempt: place for place, attempt in enumerate(zip(*columns, strict=True))}
    for (sweep, trial, attempt), place in places.items():
        if attempt_name(trial, attempt) in ended.get(sweep, {attempt_name(trial, attempt)}):
            continue
        row = table.slice(place, 1).to_pylist()[0]
        outcome = outcome_of(storage, row)
        path = Ledger(storage, sweep).root / "outcomes" / f"{attempt_name(trial, attempt)}.json"
        yield sweep, trial, attempt, None if outcome is None else partial(publish_json, path, outcome)


def outcome_of(storage: Path, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of ``trial.Outcome`` from one row of a trial; ``None`` where its experiment is not known any more."""
    stages = [dict(stage) for stage in row["stages"] or ()]
    finished = row["status"] == "finished"
    try:
        objectives = _objectives(storage, row, stages) if finished else {}
    except (UserError, KeyError):
        return None
    return {
        "status": row["status"],
        "stages": stages,
        "scores": {},
        "training": {name: row[name] for name in TRAINING if row[name] is not None} if finished else {},
        "objectives": objectives,
        "hardware": row["hardware"],
        "failure_class": row["failure_class"],
        "message": row["message"],
        "trace": None,
    }


def _objectives(storage: Path, row: Mapping[str, Any], stages: list[dict[str, Any]]) -> dict[str, float | None]:
    """What a search maximizes; the score on the target's labels is no column, its evaluation's artifact has it."""
    arm = build(row["experiment"], row["preset"]).arms[row["arm"]]
    keys = {stage["name"]: stage["key"] for stage in stages}
    store = Store(storage)
    key = keys.get(f"{arm.target}@best")
    artifacts = [store.peek(method, key) for method in store.methods()] if key else []
    target = next((artifact.result.get("miou") for artifact in artifacts if artifact is not None), None)
    seconds = float(sum(stage["seconds"] for stage in stages))
    known = {name: row[name] for name in ("source_miou", "target_infomax")}
    return {**known, "target_miou": target, "seconds": seconds}
