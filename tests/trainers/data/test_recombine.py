"""The recombination stage: what it writes, that frequencies move as asked, kills, ranks, and what it refuses."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.references import recombination as reference
from tests.trainers.data.recombining import label_maps, run, split, tree
from tests.trainers.ranks import Rank
from trainers.context import PlainContext
from trainers.data import made_files, recombine
from trainers.data.checks import check_split
from trainers.data.datasets import open_split
from trainers.data.label_spaces import CITYSCAPES, CLASS_NAMES, IGNORE_LABEL
from trainers.data.recombine_config import BACK_TO_FRONT, Config
from trainers.errors import MethodWarning, UserError
from trainers.segmentation.supervised import check_labeled

FIVE = ["wall", "fence", "pole", "traffic_light", "person"]
"""Classes that the seven images show."""


@pytest.fixture
def roots(toy_city: Path) -> dict[str, Path]:
    return {"toy_city": toy_city}


def test_it_writes_a_cityscapes_tree_of_label_maps(roots: dict[str, Path], tmp_path: Path):
    result = run(tmp_path / "out", roots, classes=FIVE, ratio=1.3)
    assert result["maps"] == 9
    made = {"recombined": tmp_path / "out"}
    samples = open_split(made, split("recombined/maps"))
    assert len(samples) == 9
    assert list(check_split(tmp_path / "out", samples, split("recombined/maps"))) == [None] * 9
    bases = [int(sample.image.name.split("_")[2]) for sample in samples]
    assert sorted(bases[:7]) == list(range(7)), "no base comes twice before all came once"
    originals = label_maps(open_split(roots, split("toy_city/day_train")))
    for sample, base, labels in zip(samples, bases, label_maps(samples), strict=True):
        instances = np.asarray(Image.open(str(sample.label).replace("labelIds", "instanceIds"))).astype(int)
        assert np.array_equal(np.where(instances >= 1000, instances // 1000, instances), labels)
        void = np.vectorize(CITYSCAPES.__getitem__)(originals[base]) == IGNORE_LABEL
        assert np.array_equal(labels[void], originals[base][void])
        changed = labels != originals[base]
        assert {CLASS_NAMES[CITYSCAPES[one]] for one in np.unique(labels[changed]).tolist()} <= set(FIVE)
    assert any((labels != originals[base]).any() for labels, base in zip(label_maps(samples), bases, strict=True))
    with pytest.raises(UserError, match="has no image of recombined/pasted"):
        open_split(made, split("recombined/pasted"))
    with pytest.raises(UserError, match="recombined/maps is label maps alone; train on images"):
        check_labeled([split("recombined/maps")], made)


@pytest.mark.parametrize("kind", ["add", "reconstruct"])
def test_frequencies_are_those_of_the_files(kind: str, roots: dict[str, Path], tmp_path: Path):
    result = run(tmp_path / "out", roots, kind=kind)
    before, supplement = (
        reference.count([labels.tolist() for labels in label_maps(open_split(known, split(name)))])
        for known, name in ((roots, "toy_city/day_train"), ({"recombined": tmp_path / "out"}, "recombined/maps"))
    )
    both = {name: before[name] + supplement[name] for name in before}
    for when, pixels in (("before", before), ("supplement", supplement), ("after", both)):
        total = sum(pixels.values())
        assert result[f"shares_{when}"] == pytest.approx({name: one / total for name, one in pixels.items()})
    least = 0.0005 * 32 * 64
    shown = [[(labels == 13).sum() >= least for labels in label_maps(open_split(roots, split("toy_city/day_train")))]]
    assert result["showing_before"]["fence"] == pytest.approx(np.mean(shown))


def test_adding_a_class_makes_it_more_frequent_and_others_no_more(roots: dict[str, Path], tmp_path: Path):
    result = run(tmp_path / "out", roots, classes=["wall"])
    assert result["shares_supplement"]["wall"] > 1.2 * result["shares_before"]["wall"]
    assert result["showing_after"]["wall"] > result["showing_before"]["wall"]
    others = [name for name in CLASS_NAMES if name != "wall"]
    assert all(result["shares_supplement"][name] <= result["shares_before"][name] + 1e-12 for name in others)


def test_reconstructed_maps_show_more_of_a_rare_class(roots: dict[str, Path], tmp_path: Path):
    result = run(tmp_path / "out", roots, kind="reconstruct")
    assert result["shares_supplement"]["traffic_light"] > 1.2 * result["shares_before"]["traffic_light"]
    assert result["pasted"]["traffic_light"] > 0.5


def test_pasted_pixels_come_from_where_their_labels_come_from(roots: dict[str, Path], tmp_path: Path):
    run(tmp_path / "out", roots, kind="reconstruct", images=True)
    originals = open_split(roots, split("toy_city/day_train"))
    photos = np.stack([np.asarray(Image.open(sample.image)) for sample in originals])
    labels = np.stack(label_maps(originals))
    for sample in open_split({"recombined": tmp_path / "out"}, split("recombined/pasted")):
        pixels, made = np.asarray(Image.open(sample.image)), np.asarray(Image.open(sample.label))
        from_one = (photos == pixels).all(axis=-1) & (labels == made)
        assert from_one.any(axis=0).all(), "every pixel is some image's, with its label there"
    titles = [entry["kind"] for entry in json.loads((tmp_path / "out" / "pictures.json").read_text())]
    assert titles == ["shares", *["label map", "recombined", "input", "pasted"] * 4]


def test_the_same_seed_gives_the_same_maps_and_another_one_others(roots: dict[str, Path], tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, roots, seed=seed, classes=FIVE, threads=1 if name == "b" else 3)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


def test_maps_of_another_size_are_resized_by_the_nearest_id(roots: dict[str, Path], tmp_path: Path):
    result = run(tmp_path / "out", roots, height=16, width=48, images=True)
    sample = open_split({"recombined": tmp_path / "out"}, split("recombined/pasted"))[0]
    assert Image.open(sample.image).size == Image.open(sample.label).size == (48, 16)
    assert set(np.unique(np.asarray(Image.open(sample.label))).tolist()) <= set(CITYSCAPES)
    assert result["maps"] == 7


def test_it_tells_what_was_pasted(roots: dict[str, Path], tmp_path: Path):
    """One image alone has enough wall to be a donor, and no base is its own."""
    pixels = [int((one == 12).sum()) for one in label_maps(open_split(roots, split("toy_city/day_train")))]
    fields = {"classes": ["wall", "building"], "kind": "reconstruct", "min_share": max(pixels) / (32 * 64)}
    result = run(tmp_path / "out", roots, **fields, ratio=2.0)
    assert set(result["pasted"]) == {"wall", "building"}
    assert result["pasted"]["wall"] == pytest.approx(12 / 14)
    listing = json.loads((tmp_path / "out" / "pictures.json").read_text())
    captions = {entry["title"]: entry["caption"] for entry in listing if entry["kind"] == "recombined"}
    is_donor = {title: int(title.split("_")[2]) == np.argmax(pixels) for title in captions}
    assert set(is_donor.values()) == {True, False}
    assert all(("wall" in caption) is not is_donor[title] for title, caption in captions.items())


class Killed(BaseException):
    pass


def test_a_kill_costs_the_maps_since_the_last_checkpoint(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fields = {"classes": FIVE, "images": True, "checkpoint_every_images": 2}
    whole = run(tmp_path / "whole", roots, **fields)

    def listen(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "torn", roots, context=PlainContext(tmp_path / "kept", on_report=listen), **fields)
    written = []
    save = recombine.save_png
    monkeypatch.setattr(recombine, "save_png", lambda image, path: (written.append(path), save(image, path))[1])
    again = run(tmp_path / "again", roots, context=PlainContext(tmp_path / "kept"), **fields)
    assert len(written) == 3 * 4
    assert again == whole
    assert tree(tmp_path / "again") == tree(tmp_path / "whole")


def test_ranks_share_the_maps(roots: dict[str, Path], tmp_path: Path):
    """Each rank writes its own, and both together what one process writes; the bank is one for both."""
    fields = {"classes": FIVE, "ratio": 1.0, "pictures": 0}
    result = run(tmp_path / "whole", roots, **fields)
    config = Config.model_validate({"split": "toy_city/day_train", **fields})
    samples = open_split(roots, config.split)
    maps = recombine.SplitMaps(samples, size=None, images=False, cache_bytes=0)
    sums: list[torch.Tensor] = []
    recombine._bank(config, maps, Rank(tmp_path, 1, sums))
    bank = recombine._bank(config, maps, Rank(tmp_path, 0, sums))
    candidates = recombine.pasteable(config, bank, maps.pixels(config.min_share))
    planned = recombine.plan(config, maps, bank, candidates, 0)
    recombiner = recombine.Recombiner(config, maps, bank, candidates, planned, 0)
    (tmp_path / "both" / "gtFine" / "train" / "recombined").mkdir(parents=True)
    sums = []
    for rank in (1, 0):
        pasted = recombine._write_all(recombiner, tmp_path / "both", Rank(tmp_path, rank, sums))
        assert len(list((tmp_path / "both").rglob("*_labelIds.png"))) == (3 if rank else 7)
    whole = {name: content for name, content in tree(tmp_path / "whole").items() if name.startswith("gtFine")}
    assert tree(tmp_path / "both") == whole
    assert {name: pasted[CLASS_NAMES.index(name)] / 7 for name in FIVE} == pytest.approx(result["pasted"])


def test_a_supplement_that_does_not_fit_is_refused_before_anything_is_written(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(tmp_path / "fits", roots, classes=["wall"], pictures=0)
    taken = sum(len(content) for name, content in tree(tmp_path / "fits").items() if name.startswith("gtFine"))
    usage = shutil.disk_usage(tmp_path)

    def with_free(free: float) -> None:
        monkeypatch.setattr(made_files.shutil, "disk_usage", lambda path: usage._replace(free=int(free)))

    with_free(0.9 * taken)
    with pytest.raises(UserError) as error:
        run(tmp_path / "out", roots, classes=["wall"])
    message = str(error.value)
    assert "a supplement of 7 maps would take about" in message
    assert "lower ratio (1) or set a smaller height and width" in message
    assert "\n" not in message
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    with pytest.raises(UserError, match=r"lower ratio \(1\), set images=false or set a smaller height and width"):
        run(tmp_path / "pasted", roots, classes=["wall"], images=True)
    with_free(1.5 * taken)
    run(tmp_path / "now", roots, classes=["wall"])


def damaged(toy_city: Path, tmp_path: Path, damage: Any) -> dict[str, Path]:
    copied = tmp_path / "city"
    shutil.copytree(toy_city / "day", copied / "day")
    damage(sorted((copied / "day" / "gtFine" / "train").glob("*/*_labelIds.png"))[2])
    return {"toy_city": copied}


def test_unknown_ids_missing_and_foreign_instance_maps_are_named(toy_city: Path, tmp_path: Path):
    def unknown(label: Path) -> None:
        Image.fromarray(np.full((32, 64), 77, dtype=np.uint8)).save(label)

    def missing(label: Path) -> None:
        Path(str(label).replace("labelIds", "instanceIds")).unlink()

    def foreign(label: Path) -> None:
        Image.fromarray(np.full((32, 64), 26_001, dtype=np.uint16)).save(str(label).replace("labelIds", "instanceIds"))

    def smaller(label: Path) -> None:
        for kind, dtype in (("labelIds", np.uint8), ("instanceIds", np.uint16)):
            Image.fromarray(np.full((16, 64), 7, dtype=dtype)).save(str(label).replace("labelIds", kind))

    expected = {
        unknown: r"holds label ids \[77\], which are not in the map",
        missing: "instanceIds.png does not exist; recombination needs label and instance maps",
        foreign: "holds instance 26001 where its label map has",
        smaller: "is 64×16, others of the split are 64×32; set height and width",
    }
    for number, (damage, message) in enumerate(expected.items()):
        roots = damaged(toy_city, tmp_path / str(number), damage)
        with pytest.raises(UserError, match=message) as error:
            run(tmp_path / str(number) / "out", roots, classes=["wall"])
        assert "\n" not in str(error.value)


def test_a_class_without_a_donor_is_named(roots: dict[str, Path], tmp_path: Path):
    with pytest.raises(
        UserError, match=r"train has no donor: .* must show 1844 pixels of it, and the most is 0; leave"
    ) as error:
        run(tmp_path / "out", roots, classes=["train"], min_share=0.9)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="classes_per_map is 19, and toy_city/day_train has donors of"):
        run(tmp_path / "out", roots, law="uniform", classes_per_map=19, min_share=0.1)


def test_a_class_that_is_pasted_nowhere_is_told_and_a_supplement_of_nothing_refused(
    roots: dict[str, Path], tmp_path: Path
):
    """The traffic lights of a street with one image are hidden behind everything else, or its own."""
    order = ("traffic_light", *(name for name in BACK_TO_FRONT if name != "traffic_light"))
    with pytest.warns(
        MethodWarning, match=r"^traffic_light of classes was pasted into none of 7 maps; lower min_share"
    ) as told:
        result = run(tmp_path / "hidden", roots, classes=["traffic_light", "car"], order=order, min_share=0.005)
    assert len(told) == 1
    assert result["pasted"] == {"traffic_light": 0.0, "car": pytest.approx(1.0)}
    with pytest.raises(
        UserError, match="nothing was pasted into any of 1 maps of toy_city/day_train:1: donors"
    ) as error:
        run(tmp_path / "alone", roots, split="toy_city/day_train:1")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["wal"]}, "did you mean 'wall'"),
        ({"classes": ["wall", "wall"]}, "every class once"),
        ({"law": "uniform"}, "give both law and classes_per_map"),
        ({"law": "unifrom", "classes_per_map": 1}, "did you mean 'uniform'"),
        ({"classes": ["wall"], "law": "uniform", "classes_per_map": 2}, "classes_per_map is 2, and classes names 1"),
        ({"split": "camvid/day_train"}, "raw ids of Cityscapes"),
        ({"split": "toy_city/night_pool"}, "raw ids of Cityscapes"),
        ({"order": ["wall"]}, "must place every class"),
        ({"height": 64}, "both height and width"),
    ],
)
def test_configurations_that_make_no_sense(fields: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"split": "toy_city/day_train", **fields})
