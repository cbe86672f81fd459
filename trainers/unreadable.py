"""Say what a file is that torch could not read as weights, and what its owner can do."""

import re
import zipfile
from pathlib import Path

SAVE_ADVICE = "give a file that torch.save(model.state_dict(), PATH) wrote"

HEAD_BYTES = 512

HEADS = (
    (b"version https://git-lfs.github.com", "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
)
"""Beginning of a file → what it is."""

FORBIDDEN = re.compile(r"(?:GLOBAL|global|class|function|type) [`'\"]?([A-Za-z_][\w.]*\.\w+)")
"""Where torch names what it would have to run or trust."""


def why_unreadable(path: Path, error: BaseException) -> str:
    """Say in a few words what the file is instead of a state that torch saved."""
    try:
        with path.open("rb") as file:
            head, size = file.read(HEAD_BYTES), path.stat().st_size
    except OSError as unread:
        return f"{type(unread).__name__}: {unread.strerror}"
    if size == 0:
        return "it is empty"
    if b"<html" in head.lower():
        return "it is an HTML page, as a download link answers that wants a login or a click: download the file itself"
    for magic, kind in HEADS:
        if head.startswith(magic):
            return f"it is {kind}"
    if head.startswith(b"PK"):
        return _why_zip(path, size, error)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "it is a safetensors file: read it with safetensors.torch.load_file, and save the result with torch.save"
    if _is_text(head):
        return f"it is text that begins with {head[:40].decode()!r}"
    return _forbidden(error) or f"it is damaged or no file of PyTorch ({size} bytes, {type(error).__name__})"


def _why_zip(path: Path, size: int, error: BaseException) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return f"its end is missing or damaged ({size} bytes): download or copy it again"
    if not any(name.endswith("data.pkl") for name in names):
        return f"it is a zip archive of other files ({', '.join(map(repr, names[:3]))}): unpack it first"
    return _forbidden(error) or f"its content is damaged ({type(error).__name__})"


def _forbidden(error: BaseException) -> str | None:
    """The objects that the file holds beside tensors and plain values."""
    match = FORBIDDEN.search(str(error))
    return match and f"it holds {match[1]} beside tensors and plain values, and no code from a file is run"


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
