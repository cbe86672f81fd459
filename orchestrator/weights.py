"""Weights by the names that a command line gives them."""

from pathlib import Path

from trainers.errors import UserError


def find_artifact(text: str, storage: Path) -> Path:
    """The folder of ``artifact:KEY`` among the artifacts with weights; ``KEY`` may be the beginning of a key.

    Raises:
        UserError: no or several such artifacts.
    """
    key = text.removeprefix("artifact:")
    found = sorted((storage / "artifacts").glob(f"*/{key}*/best.pt")) if key.isalnum() else []
    if len(found) != 1:
        many = "no artifact with weights has" if not found else f"{len(found)} artifacts have"
        raise UserError(f"{text}: {many} a key that begins with {key!r} in {storage}")
    return found[0].parent


def find_weights(text: str, storage: Path, which: str) -> Path:
    """The ``.pt`` file of ``artifact:KEY``, an artifact's folder, or such a file; its description lies beside it.

    Raises:
        UserError: there is no such file, or it is a training's checkpoint that nothing describes.
    """
    if text.startswith("artifact:"):
        path = find_artifact(text, storage) / f"{which}.pt"
    else:
        given = Path(text).expanduser()
        path = given / f"{which}.pt" if given.is_dir() else given
    if not path.is_file():
        raise UserError(f"{path} does not exist; give artifact:KEY, an artifact's folder, or its best.pt or final.pt")
    if not path.with_name("segmenter.json").is_file():
        raise UserError(
            f"{path} has no segmenter.json beside it, which says what network the weights are of; a training leaves "
            "both in its artifact when it ends"
        )
    return path
