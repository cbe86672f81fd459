"""Confirm a sweep: its best configurations again, with seeds that it has not seen, on the held-out splits.

A sweep's winner is optimistic: it won on the split that it was chosen by. A confirmation is a sweep of its own, named
``<sweep>-confirm``, over listed configurations; so it is killed, resumed and extended like any other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.experiments import build
from orchestrator.ledger import Ledger
from orchestrator.preflight import the_arm
from orchestrator.search import Search, Sweep
from orchestrator.start import Confirmation, SweepRequest, load_request, prepare
from orchestrator.storage import resume_command
from orchestrator.trial import Trial
from trainers.errors import UserError

SUFFIX = "-confirm"
SEED_BLOCK = 1000
"""Fresh seeds begin at a multiple of this, so that a sweep that gets more seeds later does not run into them."""


def confirmation(storage: Path, name: str, *, top: int, seeds: int) -> SweepRequest:
    """The request that runs the ``top`` configurations of the sweep ``name`` with ``seeds`` fresh seeds each.

    Raises:
        UserError: there is no such sweep, it is a confirmation itself, its experiment has no held-out split, or nothing
            of it has finished.
    """
    request = load_request(storage, name)
    if request.confirms:
        raise UserError(f"{name} is a confirmation itself; `nightshift confirm {request.confirms.sweep}` extends it")
    arm = the_arm(build(request.experiment, request.preset), request.arm)
    if not arm.held_out:
        raise UserError(
            f"{request.experiment} has no held-out split, so {name} cannot be confirmed; what fresh seeds reach on the "
            f"known splits: `nightshift run {request.experiment} --seed {SEED_BLOCK} --seeds {seeds}` with --set"
        )
    ledger = Ledger(storage, name)
    points = Search(prepare(request, storage), ledger).ranking()[:top]
    if not points:
        raise UserError(f"no configuration of {name} has finished yet: `{resume_command(storage, name)}` goes on")
    return request.model_copy(
        update={
            "name": name + SUFFIX,
            "confirms": Confirmation(
                sweep=name, points=[dict(point) for point in points], first_seed=fresh_seed(ledger, request)
            ),
            "trials": len(points),
            "seeds": seeds,
            "sampler": "random",  # Never asked: the configurations are listed.
            "scheduler": "none",
            "cost": None,
            "warm_start": None,
            "hours": None,
        }
    )


def fresh_seed(ledger: Ledger, request: SweepRequest) -> int:
    """The first of the seeds that no trial of the sweep has had, or will have."""
    used = {int(record["seed"]) for record in ledger.read("attempts").values()}
    used |= {request.seed, request.seed + request.seeds - 1}
    return (max(used) // SEED_BLOCK + 1) * SEED_BLOCK


def config_hashes(sweep: Sweep) -> list[tuple[Mapping[str, Any], str, str]]:
    """Of each configuration that is confirmed: its fields, its hash in the sweep, and in the confirmation."""
    plain = sweep.experiment.arms[sweep.arm.name]
    return [
        (
            point,
            Trial.of(sweep.experiment, plain, point, sweep.seeds, sweep.place).config_hash,
            Trial.of(sweep.experiment, sweep.arm, point, sweep.seeds, sweep.place).config_hash,
        )
        for point in sweep.points or ()
    ]
