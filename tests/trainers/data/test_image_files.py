"""Every file of a data set goes through one door: turned as EXIF says, and named when it cannot be read."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.trainers.data.folders import labeled_folder
from trainers.data.checks import SplitNotes, check_split
from trainers.data.datasets import DataSplit, content_files, open_listing, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.image_files import decode, file_orientation, image_size, read_label_ids
from trainers.data.images import SplitImages
from trainers.errors import UserError
from trainers.segmentation.predict import read_image

TRAIN = DataSplit.model_validate("labeled_folder/train")
TURNED_BACK = {
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, 1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: np.rot90(array, -1),
}
"""EXIF orientation → what the sensor stores of an upright image. Source: the EXIF standard, tag 274."""


def save_turned(upright: np.ndarray, path: Path, orientation: int) -> None:
    """What a camera held that way writes."""
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(TURNED_BACK[orientation](upright))
    Image.fromarray(stored).save(path, exif=exif, **({} if path.suffix == ".png" else {"quality": 100}))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def exif_chunks(orientation: int) -> dict[str, bytes]:
    """The three ways in which PNGs say how they are turned: EXIF, EXIF as text (ImageMagick 6), and XMP."""
    exif = Image.Exif()
    exif[274] = orientation
    content = exif.tobytes()
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/></rdf:RDF>'
        "</x:xmpmeta>"
    )
    text = f"\nexif\n{len(content):8d}\n{content.hex()}\n".encode()
    return {
        "exif": chunk(b"eXIf", content.removeprefix(b"Exif\0\0")),
        "text": chunk(b"tEXt", b"Raw profile type exif\0" + text),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()),
    }


@pytest.mark.parametrize("place", ["before the pixels", "behind the pixels"])
@pytest.mark.parametrize("kind", ["exif", "text", "xmp"])
def test_the_turn_of_a_png_is_read_without_its_pixels_where_it_stands_before_them(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A fingerprint asks it of every image, and must decode none; it must say what decoding says."""
    path = tmp_path / "image.png"
    Image.new("RGB", (20, 30)).save(path)
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4 if place.startswith("before") else content.index(b"IEND") - 4
    date = chunk(b"tEXt", b"date:create\x002020-01-01")  # ImageMagick writes it behind the pixels.
    path.write_bytes(content[:at] + exif_chunks(6)[kind] + content[at:-12] + date + content[-12:])
    assert decode(path).size == (30, 20)
    loads: list[str] = []
    load = PngImagePlugin.PngImageFile.load

    def counting(image: PngImagePlugin.PngImageFile) -> object:
        loads.append("decoded")
        return load(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counting)
    assert file_orientation(path) == 6
    assert loads == [] or place.startswith("behind")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_upright_wherever_it_is_decoded(orientation: int, suffix: str, tmp_path: Path):
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16] = 200
    upright[8:, 16:] = (0, 90, 200)
    path = tmp_path / f"image{suffix}"
    save_turned(upright, path, orientation)
    assert np.abs(np.asarray(decode(path)).astype(int) - upright).max() < 60
    assert np.abs(np.asarray(decode(path)).astype(int) - upright).mean() < 4
    assert image_size(path) == (32, 16)
    assert file_orientation(path) == orientation
    read = read_image(path, height=16, width=32)
    assert isinstance(read, tuple)
    assert read[1] == (16, 32)


def test_training_reads_photographs_as_their_labels_were_drawn(tmp_path: Path):
    root = labeled_folder(tmp_path)
    image, label = open_split({"labeled_folder": root}, TRAIN)[0].files()
    ids = np.zeros((32, 64), dtype=np.uint8)
    ids[:16] = 1
    Image.fromarray(ids).save(label)
    save_turned(np.repeat(ids[..., None] * 255, 3, axis=2), image, 6)
    pixels, train_ids = SplitImages({"labeled_folder": root}, TRAIN, height=32, width=64)[0]
    assert ((pixels[0] > 128).numpy() == (train_ids.numpy() == 10)).all()
    assert list(check_split(root, open_split({"labeled_folder": root}, TRAIN), TRAIN)) == [None] * 3


def test_a_fingerprint_tells_turned_photographs_alone_from_when_they_were_not_turned(tmp_path: Path):
    """What it is of a clean folder is written down: keys that exist must not move."""
    root = labeled_folder(tmp_path)
    image = root / "images/train/0.png"

    def value() -> str:
        return fingerprint(root, content_files(root, TRAIN, open_split({"labeled_folder": root}, TRAIN)))

    def by_hand() -> str:
        import hashlib

        total = hashlib.sha256(b"edges")
        for path in sorted(content_files(root, TRAIN, open_split({"labeled_folder": root}, TRAIN))):
            content = path.read_bytes()
            line = f"{path.relative_to(root).as_posix()}\0{len(content)}:{hashlib.sha256(content).hexdigest()}\n"
            total.update(line.encode())
        return total.hexdigest()

    assert value() == by_hand()
    save_turned(np.zeros((32, 64, 3), dtype=np.uint8), image, 1)
    assert value() == by_hand()
    save_turned(np.zeros((32, 64, 3), dtype=np.uint8), image, 6)
    assert value() != by_hand()


def damaged_header(path: Path) -> None:
    """A JPEG whose header claims 65,000×65,000 pixels."""
    Image.new("RGB", (32, 32)).save(path, format="JPEG")
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(bytes(content))


DAMAGES = {
    "a header that claims too much": (damaged_header, r"\(Image size \(4225000000 pixels\) exceeds limit"),
    "floating-point numbers": (
        lambda path: Image.fromarray(np.ones((32, 64), dtype=np.float32)).save(path, format="TIFF"),
        "mode F with values that are no 8 or 16 bits",
    ),
    "nothing": (lambda path: path.write_bytes(b""), "cannot be decoded"),
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[:60]), "cannot be decoded"),
    "a broken link": (lambda path: (path.unlink(), path.symlink_to("/nowhere/else.png")), "broken link to /nowhere"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_bad_file_is_named_and_the_others_are_checked(damage: str, tmp_path: Path):
    root = labeled_folder(tmp_path)
    bad = root / "images/train/1.png"
    break_it, says = DAMAGES[damage]
    break_it(bad)
    samples = open_listing(root, TRAIN, must_exist=True)
    problems = list(check_split(root, samples, TRAIN, threads=2))
    assert problems[0] is None is problems[2]
    assert problems[1] is not None
    assert problems[1].startswith(str(bad))
    assert "\n" not in problems[1]
    with pytest.raises(AssertionError, match=says):
        assert problems[1] == ""


LABELS = {
    "1 bit": (Image.fromarray(np.eye(8, dtype=bool)), "has 1 bit, black and white"),
    "16 bits that fit": (Image.fromarray(np.full((8, 8), 3, dtype=np.uint16)), "values end at 3; save the same values"),
    "instances": (Image.fromarray(np.full((8, 8), 26_001, dtype=np.uint16)), "up to 26001, like instances"),
    "own colors": (
        Image.fromarray(np.array([[[128, 64, 128], [1, 2, 3]]], dtype=np.uint8)),
        r"indices \(0 for \(1, 2, 3\), 1 for \(128, 64, 128\)\).*classes.yaml, as in \{0: CLASS, 1: road\}",
    ),
    "a photograph": (
        Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)),
        "it is a photograph or its classes are blended",
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_that_holds_no_indices_is_answered_with_what_it_is(kind: str, tmp_path: Path):
    picture, says = LABELS[kind]
    picture.save(tmp_path / "label.png")
    with pytest.raises(UserError, match=says):
        read_label_ids(tmp_path / "label.png")


def test_notes_say_what_is_surely_not_meant(tmp_path: Path):
    root = labeled_folder(tmp_path, classes="{0: road, 1: sky, 255: ignore}")
    label = Image.fromarray(np.repeat([[0, 1]], 32, axis=0).repeat(32, axis=1).astype(np.uint8), mode="P")
    label.putpalette([value for gray in (1, 0) for value in (gray, gray, gray)])
    label.save(root / "labels/train/0.png")
    infrared = np.full((32, 64), 4095, dtype=np.uint16)
    Image.fromarray(infrared).save(root / "images/train/1.png")
    Image.fromarray(infrared * 16).save(root / "images/train/2.png")
    notes = SplitNotes(TRAIN)
    assert list(check_split(root, open_split({"labeled_folder": root}, TRAIN), TRAIN, notes=notes)) == [None] * 3
    bits, palette = notes.lines()
    assert "1 images have 16 bits and values of 12 or fewer" in bits
    assert "brightness 0 to 15 of 255; multiply their values by 16" in bits
    assert "images/train/1.png" in bits
    assert "1 labels have a gray palette that is not their indices" in palette
    assert "labels/train/0.png, index 0 is shown as gray 1" in palette


def test_train_ids_where_label_ids_belong_are_noted_and_true_label_ids_are_not(tmp_path: Path):
    from tests.trainers.data.miniatures import cityscapes

    root, split = cityscapes(tmp_path), DataSplit.model_validate("cityscapes/train")
    samples = open_split({"cityscapes": root}, split)
    for ids, noted in (([7, 11, 23, 26, 0, 4], []), ([0, 2, 8, 10, 13, 255], [samples[0].label])):
        Image.fromarray(np.tile(np.array(ids, dtype=np.uint8)[:, None], (1, 8))).save(samples[0].label)
        notes = SplitNotes(split)
        assert list(check_split(root, samples, split, notes=notes)) == [None] * 3
        assert [line for line in notes.lines() if "look like train ids" in line and str(noted[0]) in line] == (
            notes.lines() if noted else []
        )
        assert len(notes.lines()) == len(noted)
