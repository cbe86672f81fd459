"""Before anything starts on a cluster: what every machine of it sees, asked on the machine itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.provenance import code_hash, versions
from trainers.data.datasets import DataSplit, open_split
from trainers.errors import UserError

ANSWER_SECONDS = 120.0
"""How long a machine may take to answer; the first process on it starts in there."""


@dataclass(frozen=True)
class Seen:
    """What one machine answers."""

    nonce: str
    """What it read where the driver wrote; else why it could not."""
    versions: Mapping[str, str]
    code: str
    splits: Mapping[str, str]
    """Data split → digest of names and sizes of its files; else what is wrong with it."""


def check_nodes(storage: Path, roots: Mapping[str, Path], splits: Mapping[str, DataSplit]) -> None:
    """Ask every living machine of the cluster; the storage is read and written in both directions.

    Raises:
        UserError: with the first machine that differs from the driver's, and how.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = storage / f".probe-{uuid.uuid4().hex}"
    probe.mkdir(parents=True)
    try:
        (probe / "driver").write_text(uuid.uuid4().hex)
        mine = look(probe, "here", roots, splits)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        ask: Any = ray.remote(num_cpus=0, max_retries=0)(look)
        asked = {
            node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                probe, node, roots, splits
            )
            for node in nodes
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_SECONDS)
        for node, answer in asked.items():
            name = f"the node {nodes[node]} ({node[:8]})"
            try:
                seen = ray.get(answer, timeout=0)
            except Exception as error:
                why = " ".join(str(error).split())[-200:] or type(error).__name__
                raise UserError(
                    f"{name} cannot run this code: {why}; install the same packages on every node"
                ) from error
            compare(name, storage, mine, seen)
            if not _has(probe / node, seen.nonce):
                raise UserError(f"{name} writes to another {storage} than the driver's; --storage must be one folder")
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def look(probe: Path, name: str, roots: Mapping[str, Path], splits: Mapping[str, DataSplit]) -> Seen:
    """What this machine sees; it repeats in a file of its own what it read in the driver's."""
    try:
        nonce = (probe / "driver").read_text()
        (probe / name).write_text(nonce)
    except OSError as error:
        nonce = str(error)
    return Seen(nonce, versions(), code_hash(), {text: _digest(roots, split) for text, split in splits.items()})


def compare(name: str, storage: Path, mine: Seen, seen: Seen) -> None:
    """Refuse a machine that differs from the driver's.

    Raises:
        UserError: with what differs.
    """
    if seen.nonce != mine.nonce:
        raise UserError(
            f"{name} does not see the storage {storage} ({seen.nonce}); --storage must be a folder that all nodes share"
        )
    for package, version in mine.versions.items():
        if seen.versions.get(package) != version:
            raise UserError(
                f"{name} has {package} {seen.versions.get(package)}, and the driver has {version}; install the same "
                "packages on every node"
            )
    if seen.code != mine.code:
        raise UserError(f"{name} runs other code of ours than the driver; submit it with `nightshift submit`")
    for text, digest in mine.splits.items():
        if seen.splits.get(text) != digest:
            raise UserError(
                f"{name} has other files of {text} than the driver ({seen.splits.get(text)}); all nodes need the same "
                "data under the same path"
            )


def _digest(roots: Mapping[str, Path], split: DataSplit) -> str:
    try:
        samples: Sequence[Any] = open_split(roots, split)
        root = roots[split.dataset]
        paths = sorted({path for sample in samples for path in (sample.image, sample.label) if path is not None})
        listing = [(str(path.relative_to(root)), path.stat().st_size) for path in paths]
    except (UserError, OSError) as error:
        return str(error)
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _has(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False
