"""What a report adds to the rows of a sweep: from its ledger, its artifacts with their pictures, and Optuna.

The report itself is ``results.report``, which imports none of these.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.experiments import build
from orchestrator.ledger import Ledger
from orchestrator.pending import progress
from orchestrator.records import PicturesEntry, read_record
from orchestrator.start import load_request
from results.report.material import Importance, Material, Picture
from trainers.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.graph import Experiment
    from results.report.ranking import Configuration

MIN_CONFIGURATIONS, RELIABLE_CONFIGURATIONS, RESAMPLES = 8, 30, 20
"""Importances: below the first none are estimated, below the second a note warns; the third gives their spread."""

PNG = b"\x89PNG\r\n\x1a\n"


def gather(storage: Path, sweep: str, rows: pd.DataFrame) -> Material:
    """The material of one sweep, from ``rows``, the rows of that sweep alone."""
    from results.report.ranking import rank

    experiment = _experiment(rows)
    objective = None if experiment is None else _asked_objective(storage, sweep) or experiment.objective
    ranked = rank(rows, objective)
    finished = rows[rows["status"] == "finished"].drop_duplicates("trial")
    artifacts = [_artifacts(storage, stages) for stages in finished.drop_duplicates("arm")["stages"]]
    distributions = _distributions(storage, sweep)
    importances, note = importance(ranked.configurations, distributions)
    shown = _shown(finished, ranked.configurations)
    return Material(
        objective=objective,
        baseline=None if experiment is None else experiment.baseline,
        planned_trials=_planned_trials(storage, sweep),
        methods={name: one.manifest["method"] for known in artifacts for name, one in known.items()},
        links=[link for known in artifacts for link in _links(known)],
        log_fields=frozenset(name for name, one in distributions.items() if getattr(one, "log", False)),
        importances=importances,
        importance_note=note,
        pictures=list(_pictures([_artifacts(storage, stages) for stages in shown["stages"]], ranked.sets)),
        pictures_of=_pictures_of(shown),
    )


def _asked_objective(storage: Path, sweep: str) -> str | None:
    """What the sweep was asked to maximize; ``None`` for a run, and where the experiment's own objective was taken."""
    if not (Ledger(storage, sweep).root / "request.json").is_file():
        return None
    return load_request(storage, sweep).objective


def importance(
    configurations: Sequence[Configuration], distributions: Mapping[str, Any]
) -> tuple[list[Importance], str]:
    """How much of the objective each searched field explains, and a sentence on how far to believe it.

    PED-ANOVA (Watanabe et al., IJCAI 2023) as in Optuna, over configurations that have all fields of the search; the
    spread is over resamples of them with replacement.
    """
    complete = [one for one in configurations if distributions and set(one.varied) >= set(distributions)]
    if not distributions:
        return [], ""
    if len(distributions) < 2:
        return [], f"Only {next(iter(distributions))} was searched, so there are no importances to compare."
    if len(complete) < MIN_CONFIGURATIONS:
        return [], f"Importances of the fields need {MIN_CONFIGURATIONS} configurations; there are {len(complete)}."
    shares = _shares(complete, distributions)
    dice = random.Random(0)  # noqa: S311 - a bootstrap, no secret
    resampled = [_shares(dice.choices(complete, k=len(complete)), distributions) for _ in range(RESAMPLES)]
    found = [Importance(name, share, _spread([one[name] for one in resampled])) for name, share in shares.items()]
    note = f"PED-ANOVA over {len(complete)} configurations, with the standard deviation over {RESAMPLES} resamples."
    if len(complete) < RELIABLE_CONFIGURATIONS:
        note += f" Below {RELIABLE_CONFIGURATIONS} configurations take it as a hint."
    return sorted(found, key=lambda one: -one.share), note


def _shares(configurations: Sequence[Configuration], distributions: Mapping[str, Any]) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for one in configurations:
        params = {name: one.varied[name] for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(distributions), value=one.mean))
    shares = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name: float(shares.get(name, 0.0)) for name in distributions}


def _spread(values: Sequence[float]) -> float:
    import statistics

    return statistics.stdev(values)


def _experiment(rows: pd.DataFrame) -> Experiment | None:
    """What the rows are of; ``None`` for an experiment that this code does not know."""
    try:
        return build(rows["experiment"].iloc[0])
    except UserError:
        return None


def _planned_trials(storage: Path, sweep: str) -> int | None:
    """What has ended and what is open: seeds of a pruned configuration, and what a grid lacks, never come."""
    found = progress(storage, sweep)
    return None if found is None else found.ended + found.open


def _distributions(storage: Path, sweep: str) -> dict[str, Any]:
    """Field → Optuna distribution of the newest ask; none for a run, which searches nothing."""
    asked = Ledger(storage, sweep).read("asked")
    if not asked:
        return {}
    from optuna.distributions import json_to_distribution

    newest = asked[max(asked)].get("distributions", {})  # The oldest ledgers have none.
    return {name: json_to_distribution(json.dumps(one)) for name, one in newest.items()}


def _artifacts(storage: Path, stages: Any) -> dict[str, Artifact]:
    """Stage → artifact, of those that still exist."""
    store, found = Store(storage), {}
    methods = store.methods()
    for stage in stages if stages is not None else ():
        for method in methods:
            if (artifact := store.peek(method, stage["key"])) is not None:
                found[str(stage["name"])] = artifact
    return found


def _links(artifacts: Mapping[str, Artifact]) -> Iterator[tuple[str, str]]:
    """(input, stage) of one trial's artifacts."""
    names = {one.manifest["key"]: name for name, one in artifacts.items()}
    for name, one in artifacts.items():
        for key in one.manifest["content"].get("inputs", {}).values():
            if key in names:
                yield names[key], name


def _shown(finished: pd.DataFrame, configurations: Sequence[Configuration]) -> pd.DataFrame:
    """For each arm, the best one first, a row of its best configuration's first seed."""
    place = {one.hash: number for number, one in enumerate(configurations)}
    known = finished[finished["config_hash"].isin(place)]
    known = known.assign(place=known["config_hash"].map(place)).sort_values(["place", "seed"])
    return known.drop_duplicates("arm")


def _pictures(trials: Sequence[Mapping[str, Artifact]], sets: Sequence[str]) -> Iterator[Picture]:
    """The pictures of each trial's artifacts, of its evaluations those of the selected checkpoint, as ``sets`` are.

    Those of a stage that trials share come once.
    """
    place = {f"{name}@best": number for number, name in enumerate(sets)}
    seen: set[str] = set()
    for artifacts in trials:
        trainings = [name for name in artifacts if "@" not in name]
        evaluations = [name for name in artifacts if name.endswith("@best")]
        evaluations.sort(key=lambda name: place.get(name.rpartition(":")[2], len(place)))
        for name in (*evaluations, *trainings):
            if artifacts[name].manifest["key"] not in seen:
                seen.add(artifacts[name].manifest["key"])
                yield from _pictures_in(name, artifacts[name])


def _pictures_in(stage: str, artifact: Artifact) -> Iterator[Picture]:
    if "pictures.json" not in artifact.manifest["files"]:
        return
    listing = artifact.file("pictures.json")
    for entry in read_record(listing, list[PicturesEntry], "the pictures of an artifact"):
        # Only what the manifest lists: a path in the file cannot lead out of the artifact.
        if entry["file"] not in artifact.manifest["files"]:
            raise UserError(f"{listing} names {entry['file']!r}, which the manifest does not")
        png = artifact.file(entry["file"]).read_bytes()
        if not png.startswith(PNG):
            raise UserError(f"{artifact.folder / entry['file']} is no PNG; `nightshift doctor` says what is damaged")
        yield Picture(stage, entry["title"], entry["kind"], entry["caption"], png)


def _pictures_of(shown: pd.DataFrame) -> str:
    trials = [f"{row['arm']} (seed {row['seed']}, trial {row['trial']})" for _, row in shown.iterrows()]
    if not trials:
        return ""
    return f"The best configuration{' of each arm' if len(trials) > 1 else ''}: {', '.join(trials)}."
