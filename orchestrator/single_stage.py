"""Make one stage outside of any experiment, through the same store: a packed data set, a foggy one, a translated one.

No row of a leaderboard refers to such an artifact, so it is pinned: ``pinned/<key>.json`` in the storage keeps ``gc``
away from it; who deletes that file gives it up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.artifacts import Artifact, Store, verify_named
from orchestrator.data_sight import Bar, check_files, no_bar, split_fingerprint
from orchestrator.execute import Observe, Walk
from orchestrator.files import publish_json, require_writable
from orchestrator.graph import Stage, external_splits, plan_stage
from orchestrator.provenance import command
from orchestrator.resources import num_cpus

if TYPE_CHECKING:
    from trainers.context import OnReport, TrainContext

PINNED = "pinned"


def make_stage(
    stage: Stage,
    *,
    storage: Path,
    roots: Mapping[str, Path],
    observe: Observe,
    inputs: Mapping[str, Path] | None = None,
    bar: Bar = no_bar,
) -> tuple[Artifact, bool]:
    """The artifact of ``stage``, made or found; and whether it existed.

    ``inputs``: role → folder of the artifact that takes it. ``bar`` shows the reading of new data sets.

    Raises:
        UserError: the stage refuses its configuration or its data.
    """
    import torch

    from trainers.context import PlainContext

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        return PlainContext(folder, on_report=on_report, guard=guard)

    require_writable(storage)
    verify_named([*roots.values(), *(inputs or {}).values()])
    torch.set_num_threads(num_cpus())
    prints = {str(split): split_fingerprint(storage, roots, split, bar) for split in external_splits(stage)}
    keys = {role: folder.name for role, folder in (inputs or {}).items()}
    planned = plan_stage(stage, keys, seed=None, fingerprints=lambda split: prints[str(split)])
    folders = {**roots, **(inputs or {})}
    planned.method.load().check(planned.config, folders)
    for split in external_splits(stage):
        check_files(storage, roots, split, bar)
    store = Store(storage)
    (report,) = Walk({stage.name: planned}, store, folders, make_context, observe).run([stage.name])
    pin = storage / PINNED / f"{planned.key}.json"
    if not pin.is_file():
        publish_json(pin, {"method": planned.method.name, "command": command()})
    artifact = store.peek(planned.method.name, planned.key)
    assert artifact is not None
    return artifact, report.hit


def pinned_keys(storage: Path) -> set[str]:
    """Keys of the artifacts that somebody made by themselves."""
    return {pin.stem for pin in (storage / PINNED).glob("[!.]*.json")}
