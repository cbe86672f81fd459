import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from orchestrator.predictions import FORMATS, list_images, names_of, pack
from tests.orchestrator.fakes import seal
from trainers.data.label_spaces import CITYSCAPES, COLORS

CITY = ["berlin_000000_000019_leftImg8bit.png", "bielefeld_000000_052461_leftImg8bit.png"]
ZURICH = ["GOPR0364_frame_000001_rgb_anon.png", "GP010376_frame_000012_rgb_anon.png"]
NAMES = {"folder": ["a.jpg", "sub/b.png"], "cityscapes": CITY, "dark_zurich": ZURICH, "acdc": ZURICH}


def photo(path, size=(64, 48), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory):
    """A storage with one artifact of a training that has learned nothing; the artifact's folder."""
    import torch

    from trainers.components.configs import NetworkConfig
    from trainers.networks.segmentation import build_segmenter
    from trainers.segmentation.trained import Trained, write_description

    folder = tmp_path_factory.mktemp("storage") / "artifacts" / "supervised" / "abc123"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    weights = build_segmenter(NetworkConfig(), pretrained=False).state_dict()
    torch.save({"weights": weights, "step": 7}, folder / "best.pt")
    write_description(folder, Trained(NetworkConfig(), 32, 64))
    seal(folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of images by their names, each of another size."""

    def make(names):
        for number, name in enumerate(names):
            photo(tmp_path / "photos" / name, size=(64 + 9 * number, 48), seed=number)
        return tmp_path / "photos"

    return make


def read(path):
    return np.asarray(Image.open(path))


def test_a_folder_becomes_label_ids_and_colors_in_the_same_places(nightshift, photos, tmp_path, segmenter):
    data, output = photos(NAMES["folder"]), tmp_path / "out"
    (data / "notes.txt").write_text("no image")
    done = nightshift("predict", segmenter / "best.pt", "--data", data, "--output", output)
    assert done.code == 0, done.err
    assert "notes.txt" in done.err
    for name, width in (("a.png", 64), ("sub/b.png", 73)):
        label_ids, colors = read(output / "labelIds" / name), read(output / "color" / name)
        assert label_ids.shape == (48, width)
        assert label_ids.dtype == np.uint8
        train_ids = np.vectorize(CITYSCAPES.get)(label_ids)
        assert train_ids.max() < 19  # Label ids that are scored, no train ids by mistake:
        assert set(np.unique(label_ids)) <= set(CITYSCAPES)
        assert np.array_equal(colors, np.array(COLORS)[train_ids])
    assert sorted(path.name for path in output.iterdir()) == ["color", "labelIds"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("reference", ["artifact:abc123", "artifact:abc", "folder"])
def test_weights_are_found_by_key_beginning_of_a_key_or_folder(nightshift, photos, tmp_path, segmenter, reference):
    name = segmenter if reference == "folder" else reference
    words = ("--data", photos(["a.png"]), "--output", tmp_path / "out", "--storage", segmenter.parents[2])
    assert nightshift("predict", name, *words).code == 0
    assert (tmp_path / "out/labelIds/a.png").is_file()


@pytest.mark.parametrize("name", ["cityscapes", "dark_zurich", "acdc"])
def test_the_zip_is_what_the_server_looks_for(nightshift, photos, tmp_path, segmenter, name):
    data, output = photos([f"some/{one}" for one in NAMES[name]]), tmp_path / "out"
    done = nightshift("predict", segmenter, "--data", data, "--output", output, "--format", name)
    assert done.code == 0, done.err
    assert f"the test split of {name} has {FORMATS[name].images} images" in done.err
    with zipfile.ZipFile(output / f"{name}.zip") as packed:
        packed.extractall(tmp_path / "server")
    found = sorted(path.relative_to(tmp_path / "server").as_posix() for path in (tmp_path / "server").rglob("*.png"))
    # How the servers look: for every frame the one file below a folder that its name begins.
    folders = {"cityscapes": ["labelIds"], "acdc": ["labelTrainIds"]}.get(
        name, ["confidence", "labelTrainIds", "labelTrainIds_invalid"]
    )
    frames = [re.match(r"(?:[a-z]+_\d+_\d+|\w+?_frame_\d+)", one)[0] for one in NAMES[name]]
    for folder in folders:
        for frame, width in zip(frames, (64, 73), strict=True):
            (match,) = [one for one in found if one.startswith(f"{folder}/{frame}")]
            pixels = read(tmp_path / "server" / match)
            assert pixels.shape == (48, width)
            if folder == "confidence":
                assert Image.open(tmp_path / "server" / match).mode.startswith("I;16")
                assert 65535 / 19 - 1 <= pixels.min() <= pixels.max() <= 65535
            else:
                assert pixels.dtype == np.uint8
                color = np.array(COLORS)[[CITYSCAPES[int(one)] if name == "cityscapes" else one for one in pixels.flat]]
                assert np.array_equal(read(output / "color" / f"{frame}.png").reshape(-1, 3), color)
    assert len(found) == len(folders) * len(frames)


def test_a_broken_image_is_named_the_others_are_predicted_and_nothing_is_packed(
    nightshift, photos, tmp_path, segmenter
):
    data, output = photos(CITY), tmp_path / "out"
    broken = data / "bonn_000000_000000_leftImg8bit.png"
    broken.write_bytes((data / CITY[0]).read_bytes()[:200])
    done = nightshift("predict", segmenter, "--data", data, "--output", output, "--format", "cityscapes")
    assert done.code == 1
    assert str(broken) in done.err
    assert "1 of 3 images could not be decoded" in done.err
    assert len(list((output / "labelIds").iterdir())) == 2
    assert not list(output.glob("*.zip"))


def refuse(nightshift, *words):
    done = nightshift("predict", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1, done.err
    return done.err


@pytest.mark.parametrize(
    ("names", "format_name", "what"),
    [
        (["a.png"], "cityscapes", "a.png is not named as cityscapes names its images"),
        ([ZURICH[0].replace("rgb_anon", "x"), ZURICH[0]], "acdc", "would both become GOPR0364_frame_000001.png"),
        (["a.png", "a.jpg"], "folder", "would both become a.png"),
        (["notes.txt"], "folder", "holds no image"),
    ],
)
def test_names_that_cannot_be_are_refused_before_anything_is_loaded(
    nightshift, tmp_path, segmenter, names, format_name, what
):
    for name in names:
        path = tmp_path / "photos" / name
        photo(path) if path.suffix != ".txt" else path.parent.mkdir() or path.write_text("x")
    words = (segmenter, "--data", tmp_path / "photos", "--output", tmp_path / "out", "--format", format_name)
    assert what in refuse(nightshift, *words)
    assert not (tmp_path / "out").exists()


def test_outputs_that_would_mix_with_something_are_refused(nightshift, photos, tmp_path, segmenter):
    data = photos(["a.png"])
    assert "exists already" in refuse(nightshift, segmenter, "--data", data, "--output", data)
    assert "lies inside --data" in refuse(nightshift, segmenter, "--data", data, "--output", data / "predicted")
    assert "is not a folder" in refuse(nightshift, segmenter, "--data", data / "no", "--output", tmp_path / "out")


def test_weights_that_are_not_there_or_not_described_are_refused(nightshift, photos, tmp_path, segmenter):
    words = ("--data", photos(["a.png"]), "--output", tmp_path / "out", "--storage", segmenter.parents[2])
    assert "no artifact with weights" in refuse(nightshift, "artifact:zzz", *words)
    assert "does not exist" in refuse(nightshift, segmenter, "--weights", "final", *words)
    lonely = tmp_path / "state.pt"
    lonely.write_bytes((segmenter / "best.pt").read_bytes())
    assert "no segmenter.json beside it" in refuse(nightshift, lonely, *words)
    assert "height 33 is not a multiple of 32" in refuse(nightshift, segmenter, "--height", 33, *words)


def test_hidden_files_are_no_images_and_no_others(tmp_path):
    photo(tmp_path / "a.PNG")
    (tmp_path / ".DS_Store").write_text("x")
    thumbnail = tmp_path / ".thumbnails" / "a.png"
    thumbnail.parent.mkdir()
    photo(thumbnail)
    hidden = [tmp_path / ".DS_Store", tmp_path / ".thumbnails"]
    assert list_images(tmp_path) == ([tmp_path / "a.PNG"], [], hidden)
    assert [str(one) for one in names_of([tmp_path / "a.b.png"], tmp_path, "folder")] == ["a.b"]


def test_colors_stay_out_of_the_zip(tmp_path):
    photo(tmp_path / "color" / "a.png")
    photo(tmp_path / "labelIds" / "a.png")
    assert pack(tmp_path, tmp_path / "x.zip") == 1
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist() == ["labelIds/a.png"]


def test_one_bad_file_of_a_folder_is_named_counted_and_ends_in_code_1(nightshift, photos, tmp_path, segmenter):
    """Also a turned photograph is predicted as it is seen, a linked folder is searched, a hidden one is not."""
    data, output = photos(["a.png", "caf\udce9.png"]), tmp_path / "out"
    (data / "empty.jpg").write_bytes(b"")
    (data / "broken.png").symlink_to("/nowhere/else.png")
    elsewhere = tmp_path / "elsewhere"
    (data / "linked").symlink_to(elsewhere)
    photo(elsewhere / "b.png")
    photo(data / ".Trash" / "c.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (64, 48)).save(data / "turned.jpg", exif=exif)
    done = nightshift("predict", segmenter, "--data", data, "--output", output)
    assert done.code == 1, done.err
    assert done.err.splitlines()[-1] == "2 of 6 images could not be decoded"
    assert "empty.jpg cannot be decoded" in done.err
    assert "broken.png is a broken link to /nowhere/else.png" in done.err
    assert "skipped, hidden: " in done.err
    assert read(output / "labelIds" / "turned.png").shape == (64, 48)
    names = sorted(path.relative_to(output / "labelIds").as_posix() for path in (output / "labelIds").rglob("*.png"))
    assert names == ["a.png", "caf\udce9.png", "linked/b.png", "turned.png"]
