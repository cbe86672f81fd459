"""Weights by the names that a command line gives them."""

from pathlib import Path

from orchestrator.artifacts import ARTIFACTS, Artifact, artifact_around, read_artifact, visible_folders
from orchestrator.cluster import require_local
from trainers.errors import UserError

DESCRIPTION = "segmenter.json"


def find_artifact(text: str, storage: Path) -> Artifact:
    """``artifact:KEY`` among the artifacts with weights; ``KEY`` may be the beginning of a key.

    Raises:
        UserError: no or several such artifacts.
    """
    key = text.removeprefix("artifact:")
    methods = visible_folders(storage / ARTIFACTS) if key.isalnum() else []
    manifests = [path for method in methods for path in sorted(method.glob(f"{key}*/manifest.json"))]
    published = [read_artifact(path.parent) for path in manifests]
    artifacts = [artifact for artifact in published if "best.pt" in artifact.manifest["files"]]
    if len(artifacts) != 1:
        many = "no artifact with weights has" if not artifacts else f"{len(artifacts)} artifacts have"
        raise UserError(f"{text}: {many} a key that begins with {key!r} in {storage}")
    return artifacts[0]


def find_weights(text: str, storage: Path, which: str) -> Path:
    """The ``.pt`` file of ``artifact:KEY``, an artifact's folder, or such a file; its description lies beside it.

    What belongs to an artifact is held against its manifest.

    Raises:
        UserError: there is no such file, it is damaged, or it is a training's checkpoint that nothing describes.
    """
    if text.startswith("artifact:"):
        path = find_artifact(text, storage).folder / f"{which}.pt"
    else:
        given = Path(text).expanduser()
        require_local(given, "CHECKPOINT")
        path = given / f"{which}.pt" if given.is_dir() else given
    artifact = artifact_around(path)
    if artifact is not None and path.resolve().parent == artifact.folder:
        for name in {path.name, DESCRIPTION} & set(artifact.manifest["files"]):
            artifact.file(name)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give artifact:KEY, an artifact's folder, or its best.pt or final.pt")
    if not path.with_name(DESCRIPTION).is_file():
        raise UserError(
            f"{path} has no {DESCRIPTION} beside it, which says what network the weights are of; a training leaves "
            "both in its artifact when it ends"
        )
    return path
