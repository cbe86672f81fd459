"""Image and label files: the one door through which every file of a data set is decoded.

Everything behind it is upright: a camera that was held sideways stores the sensor's rows and says in EXIF how to turn
them. Labels are drawn on what a viewer shows, which is turned.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from trainers.data.label_spaces import CAMVID, CITYSCAPES, CLASS_NAMES, COLORS, TRAIN_IDS
from trainers.errors import UserError

EDGE_BYTES = 64 * 1024
ORIENTATION_MARKS = (b"Exif", b"eXIf", b"exif", b"tiff:Orientation")
"""One of them stands near the beginning or the end of every PNG or JPEG that says how it is to be turned."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes it 1. Source: the table of PIL.ImageOps.exif_transpose."""

UPRIGHT = 1
SIDEWAYS = 5
"""From this orientation on height and width change places."""

MOST_COLORS_NAMED = 8


def decode(path: Path) -> Image.Image:
    """The decoded image, upright.

    Raises:
        UserError: with the file, if it cannot be decoded or claims more pixels than any photograph has.
    """
    try:
        image = Image.open(path)
        image.load()
    except Exception as error:  # Whatever a damaged file makes of Pillow's readers: they raise a dozen types.
        raise UserError(_undecodable(path, error)) from error
    orientation = orientation_of(image)
    return image if orientation == UPRIGHT else image.transpose(TURNS[orientation])


def _undecodable(path: Path, error: Exception) -> str:
    if path.is_symlink() and not path.exists():
        return f"{path} is a broken link to {path.readlink()}; mend or remove it"
    if not path.exists():
        return f"{path} does not exist"
    if isinstance(error, Image.DecompressionBombError):
        claimed = str(error).partition(", could")[0]
        return f"{path} cannot be decoded ({claimed}): its header is damaged, or it is no photograph; replace the file"
    told = " ".join(str(error).split()) or type(error).__name__
    return f"{path} cannot be decoded ({told}); replace the file"


def orientation_of(image: Image.Image, *, header_only: bool = False) -> int:
    """The EXIF orientation of an open image: 1 (upright) to 8.

    Of a PNG that is not decoded yet, ``header_only`` reads what stands before the pixels; Pillow would decode them to
    see what stands behind.
    """
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        orientation = exif.get(Base.Orientation)
    except Exception:  # EXIF that nobody can read turns nothing, as in every viewer; the pixels are whole.
        return UPRIGHT
    return orientation if orientation in TURNS else UPRIGHT


def file_orientation(path: Path) -> int:
    """The EXIF orientation of a file, without its pixels; 1 where it is no image."""
    with path.open("rb") as file:
        edges = file.read(EDGE_BYTES)
        file.seek(max(0, path.stat().st_size - EDGE_BYTES))
        edges += file.read(EDGE_BYTES)
    if not any(mark in edges for mark in ORIENTATION_MARKS):
        return UPRIGHT
    try:
        with Image.open(path) as image:
            is_before_pixels = image.format == "PNG" and not any(
                mark in behind_pixels(path) for mark in ORIENTATION_MARKS
            )
            return orientation_of(image, header_only=is_before_pixels)
    except Exception:  # Whoever decodes the file says what is wrong with it.
        return UPRIGHT


def behind_pixels(path: Path) -> bytes:
    """The chunks of a PNG behind its pixels, up to ``EDGE_BYTES``; nothing of a PNG whose chunks end too early."""
    with path.open("rb") as file:
        file.seek(8)
        start = None
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            file.seek(length + 4, 1)
            if kind == b"IDAT":
                start = file.tell()
        if start is None:
            return b""
        file.seek(start)
        return file.read(EDGE_BYTES)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image; the pixels are not decoded.

    Raises:
        UserError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception as error:  # As above.
        raise UserError(_undecodable(path, error)) from error
    return (height, width) if file_orientation(path) >= SIDEWAYS else (width, height)


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """8-bit RGB; gray becomes three equal channels, and 16-bit gray loses its lower byte instead of its highlights.

    Raises:
        UserError: the pixels are floating-point numbers, or integers beyond 16 bits, whose range nobody knows.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65_535:
            raise UserError(f"{path} has mode {image.mode} with values that are no 8 or 16 bits; save it as 8-bit RGB")
        image = Image.fromarray((values // 256).astype(np.uint8))
    return image.convert("RGB")


def read_label_ids(path: Path) -> np.ndarray:
    """Label indices of a PNG as stored, uint8 (h w), whatever they are."""
    return label_ids_of(decode(path), path)


def label_ids_of(image: Image.Image, path: Path) -> np.ndarray:
    """The same of a file that is decoded already.

    Raises:
        UserError: a pixel holds something else than one 8-bit index.
    """
    if image.mode not in ("L", "P"):
        raise UserError(
            f"{path} has mode {image.mode}: a label PNG holds one 8-bit index per pixel (mode L or P); {_hint(image)}"
        )
    return np.asarray(image)


def _hint(image: Image.Image) -> str:
    """What a label that holds no 8-bit indices may be, and what to do."""
    if image.mode == "1":
        return "this one has 1 bit, black and white; save it as 8 bits with the index of each class"
    if image.mode.startswith("I"):
        highest = int(np.asarray(image).max())
        if highest < 256:
            return f"this one has 16 bits and its values end at {highest}; save the same values as 8 bits"
        if highest >= 1000:
            return f"this one has 16 bits and values up to {highest}, like instances; take the label map beside it"
        return f"this one has 16 bits and values up to {highest}; save it as 8 bits with indices from 0 to 255"
    if image.mode in ("RGB", "RGBA"):
        return _color_hint(np.asarray(image.convert("RGB")).reshape(-1, 3))
    return "save it as 8-bit gray with the index of each class"


def _color_hint(pixels: np.ndarray) -> str:
    """The indices and the ``classes.yaml`` that colors would become."""
    colors = [tuple(color) for color in np.unique(pixels, axis=0).tolist()]
    if len(colors) > 256:
        return f"this one has {len(colors)} colors, so it is a photograph or its classes are blended; take another file"
    named_colors = colors[:MOST_COLORS_NAMED]
    names = {color: _class_of(color) for color in named_colors}
    mapping = ", ".join(f"{index}: {names[color]}" for index, color in enumerate(named_colors))
    indices = ", ".join(f"{index} for {color}" for index, color in enumerate(named_colors))
    more = f" and so on, {len(colors)} in all" if len(colors) > len(named_colors) else ""
    return (
        "colors are not read; where a palette was read as colors and saved again, take the released file, else write "
        f"indices ({indices}{more}) and what they mean into classes.yaml, as in {{{mapping}}}"
    )


def _class_of(color: tuple[int, ...]) -> str:
    """What Cityscapes paints in a color."""
    return CLASS_NAMES[COLORS.index(color)] if color in COLORS else "ignore" if color == (0, 0, 0) else "CLASS"


def read_label(path: Path, label_map: Mapping[int, int]) -> np.ndarray:
    """Label indices of a PNG as stored, uint8 (h w); an index outside ``label_map`` is named with its file."""
    label = read_label_ids(path)
    check_known(label, path, label_map)
    return label


def check_known(label: np.ndarray, path: Path, label_map: Mapping[int, int]) -> None:
    """Refuse indices outside ``label_map``.

    Raises:
        UserError: with them and the file.
    """
    unknown = sorted(set(np.unique(label).tolist()) - set(label_map))
    if not unknown:
        return
    known = ", ".join(map(str, sorted(label_map))) if len(label_map) < 40 else f"{min(label_map)}–{max(label_map)}"
    hint = ""
    if dict(label_map) == TRAIN_IDS and max(unknown) < 34:
        hint = "; they look like raw label ids: take the train ids (…labelTrainIds.png)"
    elif dict(label_map) not in (CITYSCAPES, CAMVID, TRAIN_IDS):
        hint = f"; classes.yaml of a labeled folder says what they mean, as in {{{unknown[0]}: ignore}}"
    raise UserError(f"{path} holds label ids {unknown}, which are not in the map ({known}){hint}")
