"""What is peculiar to single data sets: palettes, pairs, references, folders that bring their own classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data import miniatures
from trainers.data.datasets import DATASETS, DataSplit, class_set_at, content_files, open_split
from trainers.data.images import PairImages, SplitImages
from trainers.data.label_spaces import CITYSCAPES_LABEL_IDS, class_ids, lookup_table
from trainers.errors import UserError


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


def read(root: Path, written: str, **options: object) -> SplitImages:
    which = split(written)
    return SplitImages({which.dataset: root}, which, height=6, width=8, **options)


def test_the_palette_of_gta5_is_read_by_index_not_by_color(tmp_path: Path):
    root = miniatures.gta5(tmp_path)
    indices = np.zeros((6, 8), dtype=np.uint8)
    indices.ravel()[:40] = range(40)
    miniatures.palette(root / "labels" / "00001.png", indices)
    with Image.open(root / "labels" / "00001.png") as stored:
        assert stored.mode == "P"
        assert stored.convert("RGB").getpixel((7, 0)) == (128, 64, 128)  # As a picture, index 7 is the color of road.
    _, label = read(root, "gta5/train")[0]
    expected = np.full(48, 255)
    expected[list(CITYSCAPES_LABEL_IDS)] = range(19)
    expected[40:] = 255  # Index 0 is unlabeled.
    assert label.ravel().tolist() == expected.tolist()


def test_a_palette_label_that_was_saved_as_colors_is_refused(tmp_path: Path):
    root = miniatures.gta5(tmp_path)
    path = root / "labels" / "00002.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(UserError, match=r"00002\.png has mode RGB.* a palette was read as colors"):
        read(root, "gta5/train")[1]


def test_gta5_maps_the_ids_of_cityscapes_and_calls_the_rest_void():
    table = lookup_table(DATASETS["gta5"].label_map)
    assert table[list(CITYSCAPES_LABEL_IDS)].tolist() == list(range(19))
    assert set(table[34:].tolist()) == {255}


def test_cityscapes_may_lie_under_the_parents_of_the_archives(tmp_path: Path):
    root = miniatures.cityscapes(tmp_path / "plain")
    packed = tmp_path / "packed"
    for name in ("leftImg8bit", "gtFine"):
        (packed / f"{name}_trainvaltest").mkdir(parents=True)
        (root / name).rename(packed / f"{name}_trainvaltest" / name)
    assert len(open_split({"cityscapes": packed}, split("cityscapes/train"))) == 3


def test_the_dummy_labels_of_the_test_split_are_never_read(tmp_path: Path):
    root = miniatures.cityscapes(tmp_path, "test")
    assert all(sample.label is None for sample in open_split({"cityscapes": root}, split("cityscapes/test")))


def test_a_fog_is_one_split_and_shares_its_labels(tmp_path: Path):
    root = miniatures.foggy_cityscapes(tmp_path)
    light, dense = (
        open_split({"foggy_cityscapes": root}, split(f"foggy_cityscapes/train_beta_{beta}"))
        for beta in ("0.005", "0.02")
    )
    assert [sample.label for sample in light] == [sample.label for sample in dense]
    assert {np.asarray(Image.open(sample.image)).max() for sample in light} == {0}
    assert {np.asarray(Image.open(sample.image)).max() for sample in dense} == {100}


def test_dark_zurich_takes_label_ids_and_pairs_many_nights_with_one_day(tmp_path: Path):
    root = miniatures.dark_zurich(tmp_path)
    _, label = read(root, "dark_zurich/val_night")[0]
    assert set(label.unique().tolist()) == {0}
    samples = open_split({"dark_zurich": root}, split("dark_zurich/pairs"))
    assert [sample.image.stem for sample in samples] == [f"GOPR0351_frame_{n:06d}_rgb_anon" for n in (1, 2, 3)]
    assert [sample.partner.stem[-15:-9] for sample in samples] == ["000158", "000159", "000159"]
    night, day = PairImages({"dark_zurich": root}, split("dark_zurich/pairs"), height=6, width=8)[2]
    assert (night == 20).all()
    assert (day == 200).all()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train/night/GOPR0351/GOPR0351_frame_000001", "a line is night,day"),
        ("train/night/x/x,../../day", "must stay inside the root"),
        ("train/night/x/x,train/day/y/y", "x_rgb_anon.png, which does not exist"),
    ],
)
def test_a_wrong_pair_list_is_named(line: str, says: str, tmp_path: Path):
    root = miniatures.dark_zurich(tmp_path)
    (root / "zurich_dn_pair_train.csv").write_text(line + "\n")
    with pytest.raises(UserError, match=says):
        open_split({"dark_zurich": root}, split("dark_zurich/pairs"))


def test_the_pair_list_counts_for_the_content(tmp_path: Path):
    root = miniatures.dark_zurich(tmp_path)
    which = split("dark_zurich/pairs")
    files = content_files(root, which, open_split({"dark_zurich": root}, which))
    assert root / "zurich_dn_pair_train.csv" in files
    assert len(files) == 1 + 3 + 2


def test_acdc_knows_the_reference_of_each_image_and_joins_conditions(tmp_path: Path):
    root = miniatures.acdc(tmp_path)
    samples = open_split({"acdc": root}, split("acdc/train"))
    assert len(samples) == 4
    assert [sample.partner.parts[-4:] for sample in samples[:1]] == [
        ("fog", "train_ref", "GOPR0475", "GOPR0475_frame_000001_rgb_ref_anon.png")
    ]
    images = read(root, "acdc/night_train", partners=True)
    planes = images.planes(0)
    assert (planes[:3] == 40).all()
    assert (planes[3] == 0).all()
    assert (planes[4:] == 160).all()


def test_acdc_counts_add_up_to_its_4006_images():
    counts = DATASETS["acdc"].images
    assert sum(counts[part] for part in ("train", "val", "test")) == 4006
    assert counts["night_val"] == 106


def test_the_pairs_of_toy_city_are_those_of_its_list(tmp_path: Path):
    samples = open_split({"toy_city": miniatures.toy_tree(tmp_path)}, split("toy_city/pairs"))
    assert all(sample.image.name == sample.partner.name for sample in samples)
    assert {sample.image.relative_to(tmp_path).parts[0] for sample in samples} == {"night"}
    assert {sample.partner.relative_to(tmp_path).parts[0] for sample in samples} == {"day"}
    (tmp_path / "pairs.csv").write_text("dark,light\na,b\n")
    with pytest.raises(UserError, match="needs the columns night and day, it has dark, light"):
        open_split({"toy_city": tmp_path}, split("toy_city/pairs"))


def test_the_pairs_of_two_sets_of_streets_share_none_and_one_set_has_its_hidden_labels(tmp_path: Path):
    from trainers.data.toy_city import write_tree

    assert len(list(write_tree(tmp_path, seed=0, height=32, width=64, counts={}, pairs=45))) == 45 + 27
    roots = {"toy_city": tmp_path}
    pairs, first, second = (open_split(roots, split(f"toy_city/{name}")) for name in ("pairs", "pairs_a", "pairs_b"))
    assert sorted([*first, *second], key=lambda sample: sample.image) == pairs
    streets = [{sample.image.name.split("_")[1] for sample in samples} for samples in (first, second)]
    assert not streets[0] & streets[1]
    assert [len(samples) for samples in streets] == [8, 1]
    labeled = open_split(roots, split("toy_city/night_pairs_a"))
    assert [sample.image for sample in labeled] == [sample.image for sample in first]
    _, label = read(tmp_path, "toy_city/night_pairs_a")[0]
    assert len(label.unique()) > 3
    assert all("hidden" in str(sample.label) for sample in labeled)
    assert all(sample.label is None for sample in first)


def test_partners_are_refused_where_there_are_none(tmp_path: Path):
    root = miniatures.dark_zurich(tmp_path)
    with pytest.raises(UserError, match="dark_zurich/val_night has no pairs; those of dark_zurich are pairs"):
        read(root, "dark_zurich/val_night", partners=True)


def test_camvid_is_read_in_the_folders_of_segnet_too(tmp_path: Path):
    root = miniatures.camvid_of_segnet(tmp_path)
    assert len(open_split({"camvid": root}, split("camvid/train"))) == 2
    _, label = read(root, "camvid/train")[0]
    assert set(label.unique().tolist()) == {0}


def test_nexet_needs_its_table_to_tell_the_light(tmp_path: Path):
    root = miniatures.nexet(tmp_path)
    (root / "train.csv").write_text("name,light\n")
    with pytest.raises(UserError, match="needs the columns image_filename and lighting"):
        open_split({"nexet": root}, split("nexet/night"))
    (root / "train.csv").unlink()
    with pytest.raises(UserError, match="tells the light of NEXET's images"):
        open_split({"nexet": root}, split("nexet/night"))
    assert len(open_split({"nexet": root}, split("nexet/all"))) == 4


def test_the_dehazing_folders_pair_by_frame_or_by_name(tmp_path: Path):
    root = miniatures.dehazing(tmp_path)
    for one, hazy in (("hazy", 200), ("clear", 50)):
        planes = read(root, f"dehazing/{one}", partners=True).planes(1)
        assert (planes[:3] == hazy).all()
        assert (planes[3] == 0).all()
        assert (planes[4:] == 250 - hazy).all()
    own = tmp_path / "own"
    for folder in "ab":
        miniatures.save_image(own / folder / "x.png")
    miniatures.save_label(own / "c" / "x.png", 7)
    assert len(open_split({"dehazing": own}, split("dehazing/hazy"))) == 1
    (own / "b" / "x.png").unlink()
    with pytest.raises(UserError, match=r"b/x\.png, which does not exist"):
        open_split({"dehazing": own}, split("dehazing/hazy"))


def test_a_labeled_folder_brings_its_classes(tmp_path: Path):
    root = miniatures.labeled_folder(tmp_path)
    images = read(root, "labeled_folder/train")
    assert set(images[0][1].unique().tolist()) == {13}
    assert images.class_set == class_set_at("labeled_folder", root) == "train_ids:0,11,13"
    assert class_ids(images.class_set) == (0, 11, 13)
    which = split("labeled_folder/train")
    assert root / "classes.yaml" in content_files(root, which, open_split({"labeled_folder": root}, which))


def test_a_class_set_that_has_a_name_gets_it(tmp_path: Path):
    names = ["sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic_sign", "fence", "car", "person",
             "bicycle", "ignore"]  # fmt: skip
    (tmp_path / "classes.yaml").write_text("\n".join(f"{index}: {name}" for index, name in enumerate(names)))
    assert class_set_at("labeled_folder", tmp_path) == "camvid11"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"classes\.yaml is missing; it says what the label indices mean"),
        ("- road\n- car\n", "must map label indices to classes"),
        ("{0: road, 1: cars}", "has the class 'cars' for index 1: did you mean 'car'"),
        ("{zero: road}", "has the index 'zero'; an index is a number from 0 to 255"),
        ("{256: road}", "has the index 256"),
        ("{0: ignore}", "names no class but ignore"),
        ("{0: [}", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_a_wrong_classes_file_is_named(content: str | None, says: str, tmp_path: Path):
    root = miniatures.labeled_folder(tmp_path)
    (root / "classes.yaml").unlink()
    if content is not None:
        (root / "classes.yaml").write_text(content)
    with pytest.raises(UserError, match=says) as error:
        read(root, "labeled_folder/train")
    assert "\n" not in str(error.value)


def test_a_class_map_that_does_not_cover_the_labels_is_named(tmp_path: Path):
    root = miniatures.labeled_folder(tmp_path)
    (root / "classes.yaml").write_text("{0: road, 2: car}\n")
    with pytest.raises(UserError, match=r"one\.png holds label ids \[1\], which are not in the map \(0, 2\)"):
        read(root, "labeled_folder/train")[0]
