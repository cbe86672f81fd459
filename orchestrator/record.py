"""Outcomes of trials → rows of the leaderboard."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Store
from orchestrator.graph import CHECKPOINTS, Objective, configuration, flatten
from orchestrator.provenance import command, git_state, versions
from orchestrator.scored import objective_fingerprint, scored_by
from orchestrator.trial import DISTANCES, QUALITIES, SELECTED, Outcome, Trial
from results.schema import SCHEMA_VERSION
from results.store import read_scores, write_curves, write_scores

BATCH_MEAN = "miou_batchmean"
"""A score that only one document's table is compared with: it has no column, it stands with the curves."""

SCORES = ("miou", "miou_zeros", "pixel_accuracy", "class_accuracy", "fwiou")


def record(trial: Trial, outcome: Outcome, *, sweep: str, attempt: int) -> Path:
    """Write the rows and curves of a trial that has ended; the file of its scores."""
    curves = curve_rows(trial, sweep=sweep, attempt=attempt)
    if curves:
        write_curves(trial.place.storage, curves)
    return write_scores(trial.place.storage, score_rows(trial, outcome, sweep=sweep, attempt=attempt))


def recorded_trials(storage: Path, sweep: str) -> dict[str, tuple[int, str]]:
    """Trial → (attempt, status) of the trials of ``sweep`` that the leaderboard has rows of."""
    if not (storage / "leaderboard").is_dir():
        return {}
    table, _ = read_scores(storage)
    rows = zip(*(table.column(name).to_pylist() for name in ("sweep", "trial", "attempt", "status")), strict=True)
    return {trial: (attempt, status) for name, trial, attempt, status in rows if name == sweep}


def score_rows(trial: Trial, outcome: Outcome, *, sweep: str, attempt: int) -> list[dict[str, Any]]:
    """One row per evaluation set and checkpoint; one row without scores where the trial did not finish."""
    common = _common(trial, outcome, sweep, attempt)
    if outcome.status != "finished":
        return [common]
    train = trial.experiment.stages[trial.arm.train].config.model_dump(mode="json")
    selection = " + ".join([*filter(None, [train.get("select")]), *train.get("select_also", ())])
    rows = []
    for evaluation in trial.arm.evaluations:
        for checkpoint in CHECKPOINTS:
            stage = evaluation.stage(checkpoint)
            result, scored = outcome.scores[stage], scored_by(trial.planned, stage)
            rows.append(
                {
                    **common,
                    "evaluation_set": evaluation.name,
                    "scored_split": scored.split,
                    "scored_fingerprint": scored.fingerprint,
                    "split_role": evaluation.role,
                    "class_set": result["class_set"],
                    "checkpoint": checkpoint,
                    "step": result["step"],
                    "selection_set": selection or None,
                    "selection_metric": train.get("select_by", "miou") if selection else None,
                    **{name: result[name] for name in SCORES},
                    "iiou": result.get("iiou"),
                    "iiou_sizes": result.get("iiou_sizes"),
                    **{name: result.get(name) for name in (*DISTANCES, *QUALITIES)},
                    **_selected(result),
                    **{f"iou.{name}": value for name, value in result["iou"].items()},
                    "confusion": result["confusion"],
                    "images": result["images"],
                    "image_height": result["height"],
                    "image_width": result["width"],
                    # Artifacts of before there was a choice were scored at the input's size.
                    "label_height": result.get("label_height", result["height"]),
                    "label_width": result.get("label_width", result["width"]),
                    "inference": "whole",
                }
            )
    return rows


def _selected(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a selection tells; its quantiles as the JSON of a column, by percent."""
    found = {column: result.get(name) for column, name in SELECTED.items()}
    if (scores := found["selection_quantiles"]) is not None:
        percents = (f"{100 * place / (len(scores) - 1):g}" for place in range(len(scores)))
        found["selection_quantiles"] = json.dumps(dict(zip(percents, scores, strict=True)), allow_nan=False)
    return found


def _common(trial: Trial, outcome: Outcome, sweep: str, attempt: int) -> dict[str, Any]:
    """What every row of a trial holds."""
    commit, diff_hash = git_state()
    training = outcome.training
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep,
        "trial": trial.id,
        "arm": trial.arm.name,
        "attempt": attempt,
        "experiment": trial.experiment.name,
        "preset": trial.experiment.preset,
        "method": trial.experiment.stages[trial.arm.train].method,
        "config_hash": trial.config_hash,
        "seed": trial.seeds.trial,
        "seed_scope": trial.seeds.scope,
        "created_utc": datetime.now(UTC),
        "params": json.dumps(dict(flatten(configuration(trial.planned))), allow_nan=False),
        "varied": json.dumps(dict(trial.varied), allow_nan=False),
        **_objectives(trial, outcome),
        "seconds": _seconds(outcome.stages, hit=False),
        "seconds_saved": _seconds(outcome.stages, hit=True),
        "unlabeled_images": training.get("unlabeled_images"),
        "unlabeled_ratio": training.get("unlabeled_ratio"),
        "steps": training.get("steps"),
        "images_per_second": training.get("images_per_second"),
        "peak_memory_bytes": training.get("peak_memory_bytes"),
        "devices": max(1, trial.place.workers),
        "stages": outcome.stages or None,
        "git_commit": commit,
        "git_diff_hash": diff_hash,
        "versions": json.dumps(versions()),
        "hardware": outcome.hardware,
        "command": command(),
        "status": outcome.status,
        "failure_class": outcome.failure_class,
        "message": outcome.message,
    }


def _objectives(trial: Trial, outcome: Outcome) -> dict[str, Any]:
    """What can be known without target labels, and what that was scored on."""
    columns: dict[str, Any] = {}
    names: tuple[tuple[Objective, str], ...] = (("source_miou", "source"), ("target_infomax", "target"))
    for name, domain in names:
        columns[name] = outcome.objectives.get(name)
        if columns[name] is not None:
            columns[f"{domain}_fingerprint"] = objective_fingerprint(trial.planned, trial.arm, name)
    return columns


def _seconds(stages: Sequence[dict[str, Any]], *, hit: bool) -> float | None:
    """``None`` for a trial that ended early: what it cost is not known."""
    return float(sum(stage["seconds"] for stage in stages if stage["hit"] == hit)) if stages else None


def curve_rows(trial: Trial, *, sweep: str, attempt: int) -> list[dict[str, Any]]:
    """The curve of every training stage whose artifact exists, whoever trained it; and scores that have no column."""
    store = Store(trial.place.storage)
    rows = []
    for name, planned in trial.planned.items():
        artifact = store.peek(planned.method.name, planned.key)
        if artifact is None:
            continue
        has_curve = "curves.json" in artifact.manifest["files"]
        curve = json.loads(artifact.file("curves.json").read_text()) if has_curve else []
        if artifact.result.get(BATCH_MEAN) is not None:
            curve.append((artifact.result["step"], BATCH_MEAN, artifact.result[BATCH_MEAN]))
        for step, metric, value in curve:
            rows.append(
                {
                    "sweep": sweep,
                    "trial": trial.id,
                    "attempt": attempt,
                    "stage": name,
                    "step": step,
                    "metric": metric,
                    "value": value,
                }
            )
    return rows
