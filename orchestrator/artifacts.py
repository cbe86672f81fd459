"""The artifact store: immutable folders named by the content of what went into them.

Layout below the storage folder: ``artifacts/<method>/<key>/`` (``manifest.json`` makes it exist), ``partial/<key>/`` (a
stage in progress: lease, checkpoints, output), ``quarantine/`` (artifacts found damaged).
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.files import SCHEMA_VERSION, read_json, write_durably
from orchestrator.graph import canonical
from orchestrator.leases import remove_if_dead
from trainers.data.fingerprint import hash_file


@dataclass(frozen=True)
class Artifact:
    """A whole artifact."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """What the stage returned."""
        result: dict[str, Any] = self.manifest["result"]
        return result

    @property
    def seconds(self) -> float:
        """What it took to make, in the attempt that finished it and those it continued."""
        return float(self.manifest["seconds"])


class Store:
    """Artifacts of one storage folder."""

    _verified: ClassVar[set[Path]] = set()
    """Folders that this process has read whole; trials that follow one another in it read them once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, method: str, key: str) -> Path:
        """Where the artifact lies, or will."""
        return self.root / "artifacts" / method / key

    def partial(self, key: str) -> Path:
        """Where the stage in progress keeps its lease, checkpoints and output."""
        return self.root / "partial" / key

    def exists(self, method: str, key: str) -> bool:
        """Whether it was published; nothing is verified."""
        return (self.folder(method, key) / "manifest.json").is_file()

    def find(self, method: str, key: str) -> Artifact | None:
        """The artifact, if it was published; not verified."""
        folder = self.folder(method, key)
        if not (folder / "manifest.json").is_file():
            return None
        return Artifact(folder, read_json(folder / "manifest.json", "the manifest of an artifact"))

    def damage(self, artifact: Artifact) -> str | None:
        """What differs from the manifest, by reading every byte once per process; ``None`` when it is whole."""
        if artifact.folder in self._verified:
            return None
        for name, expected in artifact.manifest["files"].items():
            path = artifact.folder / name
            if not path.is_file():
                return f"{path} is missing"
            if hash_file(path, full=True) != expected:
                return f"{path} differs from its manifest in size or hash"
        self._verified.add(artifact.folder)
        return None

    def quarantine(self, path: Path) -> Path:
        """Move what is damaged to ``quarantine/`` under a name that says where it was; where to."""
        name = "-".join(path.relative_to(self.root).parts)
        grave = self.root / "quarantine" / f"{name}-{uuid.uuid4().hex[:8]}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        path.rename(grave)
        self._verified.discard(path)
        return grave

    def publish(
        self,
        output: Path,
        *,
        method: str,
        key: str,
        content: Mapping[str, Any],
        result: Mapping[str, Any],
        seconds: float,
    ) -> Artifact:
        """Make the filled folder ``output`` the artifact ``key``; where it exists already, the first one stays."""
        from trainers.checkpoint import sync, sync_tree

        files = {
            path.relative_to(output).as_posix(): hash_file(path, full=True)
            for path in sorted(output.rglob("*"))
            if path.is_file()
        }
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "method": method,
            "key": key,
            "content": content,
            "result": result,
            "seconds": seconds,
            "created_utc": datetime.now(UTC).isoformat(),
            "files": files,
        }
        write_durably(output / "manifest.json", canonical(manifest))
        sync_tree(output)
        final = self.folder(method, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            output.rename(final)
        except OSError:
            if not self.exists(method, key):
                raise
            shutil.rmtree(output)
        sync(final.parent)
        artifact = self.find(method, key)
        assert artifact is not None
        return artifact

    def discard_partial(self, key: str) -> None:
        """Remove what a finished stage needed on its way, and what those who were killed left there, but the lease."""
        for path in self.partial(key).glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "lease":  # Who writes one at this moment tries again: see ``Lease``.
                path.unlink(missing_ok=True)

    def bury_partial(self, key: str) -> None:
        """Remove what is left of a stage whose maker was killed between its publication and its tidying up."""
        if self.partial(key).is_dir() and remove_if_dead(self.partial(key) / "lease"):
            self.discard_partial(key)
            self.forget_partial(key)

    def forget_partial(self, key: str) -> None:
        """Remove the folder of a stage in progress if nothing is left in it."""
        with contextlib.suppress(OSError):
            self.partial(key).rmdir()

    def manifests(self, method: str) -> Iterator[Artifact]:
        """Every published artifact of a method."""
        for path in sorted((self.root / "artifacts" / method).glob("*/manifest.json")):
            yield Artifact(path.parent, read_json(path, "the manifest of an artifact"))
