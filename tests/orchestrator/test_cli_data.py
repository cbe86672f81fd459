"""``nightshift data``: what it writes, and that everything else reads it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data.folders import labeled_folder


def test_data_make_writes_all_domains_that_data_check_and_index_read(nightshift, tmp_path):
    words = ("--height", 32, "--width", 64, "--train", 2, "--val", 1, "--test", 1, "--pairs", 2)
    made = nightshift("data", "make", "toy_city", "--output", tmp_path / "city", *words)
    assert (made.code, made.err) == (0, "")
    total = int(made.out.split()[0])
    assert [path.name for path in tmp_path.iterdir()] == ["city"]
    assert {"day", "night", "fog", "game"} <= {path.name for path in (tmp_path / "city").iterdir()}
    splits = json.loads(nightshift("data", "index", "toy_city", "--root", tmp_path / "city", "--json").out)["splits"]
    assert [(split["split"], split["images"]) for split in splits[:2]] == [("day_train", 2), ("day_val", 1)]
    pairs = {split["split"]: split["images"] for split in splits if "pairs" in split["split"]}
    assert pairs["pairs"] == pairs["night_pairs"] == 2
    again = ("pairs", "pairs_a", "pairs_b", "night_pairs_a")  # Images of night_pairs and day_pairs.
    beside = ("clear_train", "clear_val", "clear_test")  # The fog's, which `make` does not count.
    once = [split for split in splits if split["split"] not in (*again, *beside)]
    assert sum(split["images"] for split in once) == total == 4 * 4 + 2 + pairs["day_pairs"]
    assert sum(splits[0]["class_frequency"].values()) == pytest.approx(1)
    assert len({split["fingerprint"] for split in once}) == len(once) == 14
    checked = nightshift("data", "check", "toy_city", "--root", tmp_path / "city")
    assert (checked.code, checked.out) == (
        0,
        f"toy_city: {sum(split['images'] for split in splits)} images, 0 problems\n",
    )
    table = nightshift("data", "index", "toy_city", "--root", tmp_path / "city", "--split", "day_val")
    assert table.code == 0
    assert "vegetation" in table.out


def test_data_make_takes_some_domains(nightshift, tmp_path):
    words = ("--height", 32, "--width", 64, "--train", 1, "--val", 1, "--test", 1, "--domains", "fog,game")
    assert nightshift("data", "make", "toy_city", "--output", tmp_path / "city", *words).out.startswith("6 images")
    assert {path.name for path in (tmp_path / "city").iterdir()} == {"fog", "game"}


def test_data_index_writes_a_row_per_image(nightshift, camvid_root, tmp_path):
    import pandas as pd

    path = tmp_path / "index.parquet"
    done = nightshift("data", "index", "camvid", "--root", camvid_root, "--parquet", path, "--json")
    rows = pd.read_parquet(path)
    assert len(rows) == 8
    assert sorted(path.parent.iterdir()) == [camvid_root, path]
    row = rows[rows.image == "images/day_val_0.jpg"].iloc[0]
    image = np.asarray(Image.open(camvid_root / "images" / "day_val_0.jpg")).astype(float)
    label = np.asarray(Image.open(camvid_root / "labels" / "day_val_0.png"))
    assert (row.split, row.label, row.height, row.width) == ("day_val", "labels/day_val_0.png", 48, 64)
    assert row.brightness == pytest.approx((image @ [0.299, 0.587, 0.114]).mean())
    assert row.red == pytest.approx(image[..., 0].mean())
    assert row["pixels.sky"] == (label == 0).sum()
    assert row["pixels.bicycle"] == (label == 10).sum()
    assert row["pixels.ignored"] == (label == 11).sum()
    assert rows[rows.split == "dusk_adapt"]["pixels.sky"].isna().all()
    summary = {split["split"]: split for split in json.loads(done.out)["splits"]}
    assert summary["day_val"]["brightness"] == pytest.approx(rows[rows.split == "day_val"].brightness.mean())


def test_data_pack_makes_an_artifact_once_that_a_run_reads(nightshift, camvid_root, tmp_path):
    words = (
        "data",
        "pack",
        "camvid",
        "--root",
        camvid_root,
        "--height",
        32,
        "--width",
        32,
        "--storage",
        tmp_path / "s",
    )
    splits = [word for name in ("day_train", "day_val", "dusk_adapt", "dusk_val") for word in ("--split", name)]
    first, again = nightshift(*words, *splits), nightshift(*words, *splits)
    assert first.code == again.code == 0
    folder = first.out.strip()
    assert again.out.strip() == f"{folder} (existed)"
    kept = nightshift("gc", "--storage", tmp_path / "s")
    assert kept.out.splitlines()[-1].startswith("0.0 MB in 0 places")
    settings = ("--set", "train.height=32", "--set", "train.width=32", "--set", "train.loop.steps=1",
                "--set", "train.batch_size=2", "--storage", tmp_path / "runs")  # fmt: skip
    rows = []
    for name, root in (("packed", folder), ("files", camvid_root)):
        done = nightshift("run", "camvid", "--name", name, "--set", f"data.camvid.root={root}", *settings)
        assert done.code == 0, done.err
        board = nightshift(
            "leaderboard", "--storage", tmp_path / "runs", "--where", f"sweep={name}", "--rows", "--json"
        )
        rows.append([(row["evaluation_set"], row["checkpoint"], row["miou"]) for row in json.loads(board.out)])
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


def test_data_fog_makes_a_tree_that_data_check_reads(nightshift, tmp_path):
    from tests.trainers.data.miniatures import cityscapes_with_depth

    root = cityscapes_with_depth(tmp_path / "cityscapes")
    made = nightshift("data", "fog", "--root", root, "--split", "train:2", "--storage", tmp_path / "s")
    assert made.code == 0, made.err
    checked = nightshift("data", "check", "foggy_cityscapes", "--root", made.out.strip())
    assert checked.code == 0
    assert checked.out.splitlines()[-1] == "foggy_cityscapes: 6 images, 0 problems"


def test_data_translate_puts_a_folder_through_a_trained_translator(nightshift, tmp_path):
    """As trained and kept under a key; another translator is another artifact, a direction that it lacks is refused."""
    import torch

    from tests.orchestrator import fakes
    from tests.trainers.data.miniatures import cityscapes, foggy_cityscapes
    from trainers.data.datasets import DataSplit
    from trainers.translation.dfs_config import UNetConfig
    from trainers.translation.dfs_networks import UNet
    from trainers.translation.translators import write_translator

    small = UNetConfig(width=4, depth=2)
    ends = [DataSplit.model_validate(f"dehazing/{name}") for name in ("hazy", "clear")]
    for key in ("aa11", "bb22"):
        folder = tmp_path / "s" / "artifacts" / "dfs" / key
        folder.mkdir(parents=True)
        torch.save({"weights": UNet(small).state_dict(), "step": 1}, folder / "best.pt")
        write_translator(folder, "dfs", generator=small, source=ends[0], target=ends[1])
        fakes.seal(folder)
    root = foggy_cityscapes(tmp_path / "foggy")
    words = ("--dataset", "foggy_cityscapes", "--root", root, "--split", "train_beta_0.02", "--storage", tmp_path / "s")
    made = [nightshift("data", "translate", f"artifact:{key}", *words) for key in ("aa", "bb", "aa")]
    assert [one.code for one in made] == [0, 0, 0], made[0].err
    folders = [one.out.strip() for one in made]
    assert folders[0] != folders[1]
    assert folders[2] == f"{folders[0]} (existed)"
    names = sorted(path.name for path in Path(folders[0]).iterdir())
    assert names[0] == "000000_aachen_000000_000019_leftImg8bit_foggy_beta_0.02.png"
    assert [Image.open(Path(folders[0]) / name).size for name in names] == [(8, 6)] * 3
    clear, larger = cityscapes(tmp_path / "clear"), foggy_cityscapes(tmp_path / "larger")
    for path in (*clear.rglob("*.png"), *larger.rglob("*.png")):
        Image.open(path).resize((16, 12), Image.Resampling.NEAREST).save(path)
    there = ("--dataset", "foggy_cityscapes", "--root", larger, "--split", "train_beta_0.01", *words[-2:])
    reference = ("--reference", "cityscapes/train", "--reference-root", clear)
    compared = nightshift("data", "translate", "artifact:aa", *there, "--height", 32, "--width", 32, *reference)
    assert compared.code == 0, compared.err
    _, before, after = compared.out.splitlines()
    hazy, plain = (
        [np.asarray(Image.open(path), dtype=float) for path in sorted(root.rglob(f"*{end}.png"))]
        for root, end in ((larger, "_beta_0.01"), (clear, "_leftImg8bit"))
    )
    psnr = np.mean([20 * np.log10(255 / np.sqrt(((a - b) ** 2).mean())) for a, b in zip(hazy, plain, strict=True)])
    assert before.startswith(f"before: PSNR {psnr:.2f} dB, SSIM ")
    assert after.startswith("after: PSNR ")
    assert after.endswith(", 3 images")
    lost = nightshift("data", "translate", "artifact:aa", *words, "--reference", "cityscapes/train")
    assert (lost.code, lost.err.count("\n")) == (2, 1)
    assert "--reference needs --reference-root" in lost.err
    back = nightshift("data", "translate", "artifact:aa", *words, "--direction", "backward")
    assert (back.code, back.err.count("\n")) == (2, 1)
    assert "dfs takes haze out of images and puts none in" in back.err


def test_full_fingerprints_differ_from_those_of_the_edges(nightshift, camvid_root):
    index = ("data", "index", "camvid", "--root", camvid_root, "--json")
    edges, full = (json.loads(nightshift(*index, *more).out)["splits"] for more in ((), ("--full",)))
    assert [split["fingerprint"] for split in edges] != [split["fingerprint"] for split in full]
    frequencies = {split["split"]: split["class_frequency"] for split in edges}
    assert frequencies["dusk_adapt"] is None
    label = np.asarray(Image.open(camvid_root / "labels" / "day_val_0.png"))
    other = np.asarray(Image.open(camvid_root / "labels" / "day_val_1.png"))
    both = np.concatenate([label.ravel(), other.ravel()])
    assert frequencies["day_val"]["sky"] == pytest.approx((both == 0).sum() / (both != 11).sum())


def test_data_check_names_one_bad_file_and_all_that_is_left_out(nightshift, tmp_path):
    root = labeled_folder(tmp_path, splits=("train", "val"))
    (root / "images/train/0.png").write_bytes(b"")
    (root / "images/train/1.png").rename(root / "images/train/1.webp")
    (root / "images/val/.ipynb_checkpoints").mkdir()
    (root / "some.txt").write_bytes("0.png".encode("utf-16"))
    for path in (root / "labels/val").iterdir():
        Image.fromarray(np.full((32, 64), 255, dtype=np.uint8)).save(path)
    done = nightshift("data", "check", "labeled_folder", "--root", root)
    assert done.code == 2
    empty, listing, *notes, last = done.out.splitlines()
    assert empty.startswith(f"{root / 'images/train/0.png'} cannot be decoded")
    assert listing == f"{root / 'some.txt'} is no UTF-8 but UTF-16, or no text; save it as UTF-8"
    assert [note.split(":")[1:3] for note in notes[:2]] == [
        [" labeled_folder/train", " files that are not read as images"],
        [" labeled_folder/train", " labels without an image that is read"],
    ]
    assert notes[2].startswith("note: labeled_folder/val: every pixel of its 3 label(s) is ignored")
    assert notes[3] == "note: labeled_folder/val: hidden: 1 (images/val/.ipynb_checkpoints)"
    assert last == "labeled_folder: 5 images, 2 problems"


def test_data_index_goes_on_after_a_bad_file_and_reads_names_that_are_no_utf_8(nightshift, tmp_path):
    import pandas as pd

    root = labeled_folder(tmp_path / "data")
    (root / "images/train/0.png").write_bytes(b"")
    for kind in ("images", "labels"):
        (root / kind / "train/1.png").rename(root / kind / "train/caf\udce9.png")
    words = ("data", "index", "labeled_folder", "--root", root, "--parquet", tmp_path / "index.parquet", "--json")
    done = nightshift(*words)
    assert done.code == 1
    assert f"{root / 'images/train/0.png'} cannot be decoded" in done.err
    assert "1 image(s) cannot be read and are left out" in done.err
    assert [split["images"] for split in json.loads(done.out)["splits"]] == [2]
    assert pd.read_parquet(tmp_path / "index.parquet").image.tolist() == [
        "images/train/2.png",
        "images/train/caf\\udce9.png",
    ]


def test_a_run_refuses_one_bad_file_in_one_line_before_it_starts(refused, tmp_path, camvid_root):
    (camvid_root / "images" / "day_train_0.jpg").write_bytes(b"")
    refused("run", "camvid", "--set", f"data.camvid.root={camvid_root}", what=["day_train_0.jpg cannot be decoded"])


def test_a_run_refuses_to_choose_by_ignored_pixels_alone(refused, tmp_path, camvid_root):
    for path in (camvid_root / "labels").glob("day_val_*"):
        Image.fromarray(np.full(np.asarray(Image.open(path)).shape, 11, dtype=np.uint8)).save(path)
    what = ["camvid/day_val: every pixel of its", "is ignored"]
    refused("run", "camvid", "--set", f"data.camvid.root={camvid_root}", what=what)
