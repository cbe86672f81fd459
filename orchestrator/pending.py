"""What is still open in the sweeps of a storage, read off their ledgers without preparing anything."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ledger import Ledger, attempt_name
from orchestrator.start import SweepRequest, load_request
from trainers.errors import UserError


@dataclass(frozen=True)
class Pending:
    """How far a sweep is."""

    sweep: str
    ended: int
    open: int


def pending(storage: Path, sweeps: Iterable[str]) -> list[Pending]:
    """Those of ``sweeps`` that have open trials; runs that are no sweeps have no request, and are left out."""
    found = (progress(storage, name) for name in sweeps)
    return [one for one in found if one is not None and one.open]


def progress(storage: Path, sweep: str) -> Pending | None:
    """How far a sweep is; ``None`` for a run, which has no request."""
    if not (storage / "sweeps" / sweep / "request.json").is_file():
        return None
    try:
        return _count(Ledger(storage, sweep), load_request(storage, sweep))
    except UserError:
        return None  # A damaged ledger is for `doctor`; the rows can still be read.


def _count(ledger: Ledger, request: SweepRequest) -> Pending:
    outcomes = ledger.outcomes()
    attempts = ledger.read("attempts")
    ended: dict[str, dict[int, str]] = {}
    """Varied fields → seed → status."""
    for trial, (attempt, outcome) in outcomes.items():
        record = attempts.get(attempt_name(trial, attempt))
        if record is not None:
            ended.setdefault(_name(record["varied"]), {})[record["seed"]] = outcome["status"]
    asked = _asked(ledger)
    seeds = range(request.first_seed, request.first_seed + request.seeds)
    left = max(0, configurations(request) - len(asked)) * len(seeds)
    for params in asked:
        done = ended.get(_name(params), {})
        if request.scheduler != "none" and done.get(seeds[0], "finished") != "finished":
            continue  # Its first seed was pruned: the others never run.
        left += sum(seed not in done for seed in seeds)
    return Pending(ledger.name, len(outcomes), left)


def configurations(request: SweepRequest) -> int:
    """How many configurations a sweep asks for: a grid may have fewer points than ``trials``."""
    from orchestrator.experiments import build
    from orchestrator.samplers import grid
    from orchestrator.spaces import search_space

    if request.sampler != "grid":
        return request.trials
    return len(grid(search_space(build(request.experiment, request.preset), request.space), request.trials))


def _asked(ledger: Ledger) -> list[dict[str, Any]]:
    """The configurations of the newest base: older ones are not continued."""
    records = list(ledger.read("asked").values())
    unique = {_name(one["params"]): one["params"] for one in records if one["base"] == records[-1]["base"]}
    return list(unique.values())


def _name(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
