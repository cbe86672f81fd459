"""The artifact store: immutable folders named by the content of what went into them.

Layout below the storage folder: ``artifacts/<method>/<key>/`` (``manifest.json`` makes it exist), ``partial/<key>/`` (a
stage in progress: lease, checkpoints, output), ``quarantine/`` (artifacts found damaged).
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.files import write_durably
from orchestrator.graph import canonical
from orchestrator.leases import remove_if_dead
from orchestrator.records import CURE, SCHEMA_VERSION, Damaged, Manifest, read_record, sealed
from trainers.data.fingerprint import hash_file
from trainers.errors import UserError

ARTIFACTS, MANIFEST = "artifacts", "manifest.json"


class DamagedArtifact(Damaged):
    """A file of an artifact is missing, or not what its manifest says."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact: what its manifest says, and the only way to its files."""

    folder: Path
    manifest: Mapping[str, Any]

    _verified: ClassVar[set[Path]] = set()
    """Files that this process has read whole; trials that follow one another in it read them once."""

    @property
    def result(self) -> dict[str, Any]:
        """What the stage returned."""
        result: dict[str, Any] = self.manifest["result"]
        return result

    @property
    def seconds(self) -> float:
        """What it took to make, in the attempt that finished it and those it continued."""
        return float(self.manifest["seconds"])

    def file(self, name: str) -> Path:
        """One of its files, after it has been held against the manifest: every byte, once per process.

        Raises:
            DamagedArtifact: it is missing or differs. ``UserError``: the artifact has no such file.
        """
        if name not in self.manifest["files"]:
            has = ", ".join(self.manifest["files"])
            raise UserError(f"the artifact {self.folder} has no file {name}; it has {has}")
        if problem := self._problem(name):
            raise DamagedArtifact(
                f"the artifact {self.folder} is damaged ({problem}); `nightshift doctor --repair` moves it to "
                "quarantine, and a run makes it again"
            )
        return self.folder / name

    def verified(self) -> "Artifact":
        """The artifact itself, after all its files have been held against the manifest.

        Raises:
            DamagedArtifact: one is missing or differs.
        """
        for name in self.manifest["files"]:
            self.file(name)
        return self

    def _problem(self, name: str) -> str | None:
        path = self.folder / name
        if path in self._verified:
            return None
        if not path.is_file():
            return f"{path} is missing"
        if hash_file(path, full=True) != self.manifest["files"][name]:
            return f"{path} differs from its manifest in size or hash"
        self._verified.add(path)
        return None


def read_artifact(folder: Path) -> Artifact:
    """The artifact in ``folder``; of its files only the manifest is read.

    Raises:
        Damaged: the manifest is not whole, or another artifact's.
    """
    path = folder / MANIFEST
    manifest = read_record(path, Manifest, "the manifest of an artifact")
    if (manifest["method"], manifest["key"]) != (folder.parent.name, folder.name):
        raise Damaged(
            f"the manifest of an artifact {path} is another one's ({manifest['method']}/{manifest['key']}); {CURE}"
        )
    return Artifact(folder, manifest)


def artifact_around(path: Path) -> Artifact | None:
    """The artifact that a file or folder is part of, wherever its storage is; ``None`` for any other path."""
    path = path.expanduser().resolve()
    for folder in (path, *path.parents):
        if len(folder.parts) > 3 and folder.parents[1].name == ARTIFACTS and (folder / MANIFEST).is_file():
            return read_artifact(folder)
    return None


def verify_named(values: Iterable[Any]) -> None:
    """Verify every artifact, or file of one, that a value names by its path, alone or behind ``NETWORK:``.

    Raises:
        DamagedArtifact: one is not what was made.
    """
    for value in values:
        path = Path(str(value).rpartition(":")[2])
        artifact = artifact_around(path) if isinstance(value, str | Path) and path.is_absolute() else None
        if artifact is not None:
            name = path.resolve().relative_to(artifact.folder).as_posix()
            if name in artifact.manifest["files"]:
                artifact.file(name)
            else:
                artifact.verified()


class Store:
    """Artifacts of one storage folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, method: str, key: str) -> Path:
        """Where the artifact lies, or will."""
        return self.root / ARTIFACTS / method / key

    def partial(self, key: str) -> Path:
        """Where the stage in progress keeps its lease, checkpoints and output."""
        return self.root / "partial" / key

    def exists(self, method: str, key: str) -> bool:
        """Whether it was published; nothing is verified."""
        return (self.folder(method, key) / MANIFEST).is_file()

    def find(self, method: str, key: str) -> Artifact | None:
        """The artifact, if it was published, with every file held against its manifest.

        Raises:
            Damaged: a file, or the manifest itself, is not what was written.
        """
        artifact = self.peek(method, key)
        return None if artifact is None else artifact.verified()

    def peek(self, method: str, key: str) -> Artifact | None:
        """The artifact, if it was published, for what its manifest says; a file is verified when it is asked for.

        Raises:
            Damaged: the manifest is not what was written.
        """
        return read_artifact(self.folder(method, key)) if self.exists(method, key) else None

    def methods(self) -> list[str]:
        """Methods that have a folder; hidden ones, and files, are nobody's."""
        return [folder.name for folder in visible_folders(self.root / ARTIFACTS)]

    def quarantine(self, path: Path) -> Path:
        """Move what is damaged to ``quarantine/`` under a name that says where it was; where to."""
        name = "-".join(path.relative_to(self.root).parts)
        grave = self.root / "quarantine" / f"{name}-{uuid.uuid4().hex[:8]}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        path.rename(grave)
        for known in [known for known in Artifact._verified if known.is_relative_to(path)]:
            Artifact._verified.discard(known)
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
        write_durably(output / MANIFEST, canonical(sealed(manifest)))
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
        return read_artifact(final)

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

    def published(self, method: str) -> Iterator[Artifact]:
        """Every published artifact of a method; none is verified."""
        for folder in visible_folders(self.root / ARTIFACTS / method):
            if (folder / MANIFEST).is_file():
                yield read_artifact(folder)


def visible_folders(folder: Path) -> list[Path]:
    """The folders in ``folder`` by name; what a file browser or an editor leaves there is hidden, or a file."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith(".") and path.is_dir())
