"""Every mistake: one line, exit code 2, nothing half-written."""

import json
from urllib.error import URLError

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from PIL import Image

TINY = ("--set", "train.height=32", "--set", "train.width=32", "--set", "train.loop.steps=1")


def label_with(root, name, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(root / "labels" / f"{name}.png")


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


BROKEN = {
    "an image without label": ("day_train_0", lambda root: (root / "labels/day_train_0.png").unlink()),
    "a missing image": ("day_val_1", lambda root: (root / "images/day_val_1.jpg").unlink()),
    "sizes that differ": ("day_val_0", lambda root: label_with(root, "day_val_0", np.zeros((24, 32)))),
    "a corrupt PNG": ("day_train_1", lambda root: cut(root / "labels/day_train_1.png")),
    "a corrupt JPEG": ("dusk_adapt_0", lambda root: cut(root / "images/dusk_adapt_0.jpg")),
    "label ids outside the map": ("dusk_val_0", lambda root: label_with(root, "dusk_val_0", np.full((48, 64), 77))),
    "a label with colors": ("dusk_val_1", lambda root: label_with(root, "dusk_val_1", np.zeros((48, 64, 3)))),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_run_refuses_broken_data_by_file(refused, camvid_root, kind):
    name, damage = BROKEN[kind]
    damage(camvid_root)
    refused("run", "camvid", "--set", f"data.camvid.root={camvid_root}", *TINY, what=name)


def test_sweep_refuses_broken_data_by_file(refused, camvid_root):
    BROKEN["a corrupt PNG"][1](camvid_root)
    refused("sweep", "camvid", "--set", f"data.camvid.root={camvid_root}", *TINY, what="day_train_1.png")


def test_data_check_lists_all_that_is_wrong(nightshift, camvid_root):
    check = ("data", "check", "camvid", "--root", camvid_root)
    whole = nightshift(*check)
    assert whole.code == 0
    *notes, summary = whole.out.splitlines()
    assert summary == "camvid: 8 images, 0 problems"
    assert notes[0] == "note: camvid/day_train has 2 images, as released it has 305"
    assert len(notes) == 4
    complete = nightshift(*check, "--complete")
    assert complete.code == 2
    assert complete.out.splitlines()[-1] == "camvid: 8 images, 4 problems"
    for _, damage in BROKEN.values():
        damage(camvid_root)
    done = nightshift(*check)
    assert done.code == 2
    *problems, summary = [line for line in done.out.splitlines() if not line.startswith("note: ")]
    assert summary == f"camvid: 8 images, {len(BROKEN)} problems"
    assert len(problems) == len(BROKEN)
    for name, _ in BROKEN.values():
        assert sum(name in problem for problem in problems) == 1, name
    found = json.loads(nightshift(*check, "--json").out)
    assert found["problems"] == problems
    present = {name: count for name, count in found["images"].items() if count}
    assert present == {"day_train": 2, "day_val": 2, "dusk_adapt": 2, "dusk_val": 2}
    one = nightshift(*check, "--split", "dusk_adapt")
    assert one.code == 2
    assert one.out.splitlines()[-1] == "camvid: 2 images, 1 problems"


@pytest.mark.parametrize("verb", ["check", "index"])
def test_data_verbs_refuse_what_is_not_there(nightshift, tmp_path, verb):
    for words, what in [
        (("camvid", "--root", tmp_path / "absent"), f"{tmp_path / 'absent'}, does not exist"),
        (("camvid", "--root", tmp_path), "has no image of camvid"),
        (("cityscapes", "--root", tmp_path), "leftImg8bit/<split>"),
        (("camvit", "--root", tmp_path), "did you mean 'camvid'"),
    ]:
        done = nightshift("data", verb, *words)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert what in done.err
    if verb == "check":
        done = nightshift("data", "check", "camvid", "--root", tmp_path, "--split", "day_vall")
        assert done.code == 2
        assert "did you mean 'day_val'" in done.err


def test_data_make_refuses_a_folder_that_exists_and_a_size_that_does_not_fit(nightshift, tmp_path):
    done = nightshift("data", "make", "toy_city", "--output", tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{tmp_path} exists already" in done.err
    done = nightshift("data", "make", "toy_city", "--output", tmp_path / "new", "--height", "33")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "multiple of 32" in done.err
    done = nightshift("data", "make", "toy_city", "--output", tmp_path / "new", "--domains", "day,nigth")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "unknown domain 'nigth': did you mean 'night'" in done.err
    assert list(tmp_path.iterdir()) == []


PACK = ("--height", 8, "--width", 8, "--split")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("pack", "camvid", "--root", "{root}", *PACK, "day_trian"), "did you mean 'day_train'"),
        (("pack", "camvid", "--root", "{root}", *PACK, "day_train:3"), "asks for 3 images, and"),
        (("pack", "camvid", "--root", "{root}", *PACK, "day_train:some.txt"), "some.txt is missing"),
        (("pack", "camvid", "--root", "{root}", *PACK, "day_train:../x.txt"), "entries must stay inside the root"),
        (("pack", "camvid", "--root", "{root}", *PACK, "day_train:0"), "takes no image"),
        (("pack", "camvid", "--root", "{root}", *PACK, "day_train", "--split", "day_train"), "splits must differ"),
        (("pack", "camvid", "--root", "{root}/absent", *PACK, "day_train"), "does not exist; it needs images/"),
        (("fog", "--root", "{root}"), "has no image of cityscapes/val"),
        (("index", "camvid", "--root", "{root}", "--parquet", "{root}/no/x.parquet"), "does not exist; make it first"),
    ],
    ids=str,
)
def test_data_pack_fog_and_index_refuse_in_one_line(nightshift, camvid_root, tmp_path, words, what):
    words = [str(word).replace("{root}", str(camvid_root)) for word in words]
    done = nightshift("data", *words, *(() if words[0] == "index" else ("--storage", tmp_path / "s")))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert what in done.err
    assert not (tmp_path / "s" / "artifacts").exists()


@pytest.mark.parametrize("verb", ["run", "sweep", "show"])
def test_missing_data_names_the_option(refused, tmp_path, verb):
    refused(verb, "camvid", what=("no folder is known for the data set camvid", "--set data.camvid.root=DIR"))
    absent = tmp_path / "absent"
    refused(
        verb, "camvid", "--set", f"data.camvid.root={absent}", what=(str(absent), "does not exist", "day_train.txt")
    )
    refused(verb, "camvid", "--data-root", absent, what=("--data-root", str(absent), "does not exist"))
    (tmp_path / "empty").mkdir()
    refused(verb, "camvid", "--set", f"data.camvid.root={tmp_path / 'empty'}", what=("day_train.txt", "is missing"))


@pytest.mark.parametrize(
    ("field", "distribution", "what"),
    [
        ("loss.alfa", FloatDistribution(0.0, 1.0), ("varies 'loss.alfa'", "did you mean 'loss.alpha'")),
        ("loss.alpha", FloatDistribution(0.0, 1.5), ("train.loss.alpha", "less than or equal to 1", "1.5")),
        ("loss.alpha", CategoricalDistribution(["low"]), ("train.loss.alpha", "valid number", "'low'")),
        ("batch_size", FloatDistribution(0.5, 4.5), ("train.batch_size", "valid integer", "0.5")),
    ],
    ids=["unknown field", "out of bounds", "wrong choice", "wrong type"],
)
def test_a_space_that_the_stage_cannot_take_is_refused_before_anything_starts(
    refused, monkeypatch, field, distribution, what
):
    monkeypatch.setattr("search_spaces.space", lambda name: ("supervised", {field: distribution}))
    refused("sweep", "demo", what=what)


def test_the_real_preset_without_its_data_names_the_toy(refused):
    refused(
        "run", "gta5_to_cityscapes", "--preset", "real",
        what=("no folder is known for the data set cityscapes", "--data-root", "--preset toy_city"),
    )  # fmt: skip


NAMES = [
    (("run", "dmeo"), ("unknown experiment 'dmeo'", "did you mean 'demo'")),
    (("show", "xyzzy"), ("unknown experiment 'xyzzy'", "camvid, ", "demo")),
    (("run", "demo", "--arms", "supervized"), ("no arm 'supervized'", "did you mean 'supervised'")),
    (("sweep", "demo", "--arm", "supervized"), ("no arm 'supervized'", "did you mean 'supervised'")),
    (("sweep", "demo", "--space", "loss_alfa"), ("no search 'loss_alfa'", "did you mean 'loss_alpha'")),
    (("run", "demo", "--preset", "toycity"), ("no preset 'toycity'", "did you mean 'toy_city'")),
    (("run", "demo", "--set", "trian.loss.alpha=1"), ("no stage 'trian'", "did you mean 'train'")),
    (("run", "demo", "--set", "train.alpha=1"), ("no field 'alpha'", "did you mean train.loss.alpha?")),
    (("run", "demo", "--set", "train.network.architecture=FPP"), ("train.network.architecture", "'FPP'", "'FPN'")),
    (("run", "demo", "--set", "train.network.encoder=resnet81"), ("encoder 'resnet81'", "'resnet18'")),
    (("sweep", "demo", "--set", "train.network.encoder=resnet81"), ("encoder 'resnet81'", "'resnet18'")),
    (("run", "demo", "--set", "train.network.encoder=tu-resnet81"), ("'tu-resnet81'", "did you mean 'tu-resnet18'")),
    (("run", "demo", "--set", "train.network.weights=imagnet"), ("unknown weights 'imagnet'", "'imagenet'", "none")),
    (("run", "demo", "--set", "train.network.weights=/no/x.pth"), ("/no/x.pth", "does not exist")),
    (("run", "demo", "--set", "train.select=toy_city/day_vall"), ("day_vall", "did you mean 'day_val'")),
    (("run", "demo", "--set", "data.camvit.root=/x"), ("camvit", "did you mean 'camvid'")),
]


@pytest.mark.parametrize(("words", "what"), NAMES, ids=[" ".join(words) for words, _ in NAMES])
def test_an_unknown_name_offers_the_nearest(refused, words, what):
    refused(*words, what=what)


VALUES = [
    ("train.loss.alpha=1.5", ("train.loss.alpha", "less than or equal to 1", "1.5")),
    ("train.loss.alpha=half", ("train.loss.alpha", "valid number", "'half'")),
    ("train.loop.steps=0", ("train.loop.steps", "greater than or equal to 1", "0")),
    ("train.height=100", ("height 100", "multiple of 32", "96")),
    ("city.width=100", ("city.width", "multiple of 32", "100")),
    ("train.loss.alpha", ("train.loss.alpha", "stage.field=value")),
    ("train.loss.alpha=[1", ("train.loss.alpha", "cannot be read")),
]


@pytest.mark.parametrize("verb", ["run", "sweep"])
@pytest.mark.parametrize(("assignment", "what"), VALUES, ids=[assignment for assignment, _ in VALUES])
def test_a_value_out_of_bounds_names_field_rule_and_value(refused, verb, assignment, what):
    refused(verb, "demo", "--set", assignment, what=what)


def test_a_config_file_that_cannot_be_read_is_named(refused, tmp_path):
    refused("run", "demo", "--config", tmp_path / "absent.yaml", what=("absent.yaml", "cannot be read"))
    (tmp_path / "list.yaml").write_text("- a\n")
    refused("run", "demo", "--config", tmp_path / "list.yaml", what=("list.yaml", "must hold a mapping"))


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_storage_that_cannot_be_written_is_named(refused, tmp_path, verb):
    (tmp_path / "file").write_text("")
    storage = tmp_path / "file" / "storage"
    refused(verb, "demo", storage=storage, what=(str(storage), "give --storage a folder"))


@pytest.mark.parametrize("verb", ["run", "sweep", "show"])
def test_gpus_without_a_gpu_are_refused(refused, verb):
    refused(verb, "demo", "--gpus-per-worker", "1", what=("--gpus-per-worker 1", "has 0", "--gpus-per-worker 0"))


def test_more_workers_than_cores_are_refused(refused, monkeypatch):
    monkeypatch.setattr("orchestrator.preflight.num_cpus", lambda: 2)
    refused("run", "demo", "--workers", "3", what=("--workers 3", "3 cores", "has 2", "--workers 2 or fewer"))
    refused("run", "demo", "--workers", "2", "--cpus-per-worker", "2", what=("4 cores", "has 2"))
    refused("sweep", "demo", "--cpus-per-worker", "3", what=("3 cores", "has 2"))
    refused("run", "demo", "--workers", "-1", what=("--workers", "-1"))
    refused("sweep", "demo", "--workers", "3", what=("--workers 3", "3 cores", "has 2"))
    refused("sweep", "demo", "--workers", "2", "--cpus-per-worker", "2", what=("4 cores", "has 2"))


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_what_a_worker_cannot_take_of_gpus_is_refused(refused, verb, monkeypatch):
    monkeypatch.setattr("orchestrator.preflight.num_gpus", lambda: 2)
    refused(verb, "demo", "--gpus-per-worker", "1.5", what=("--gpus-per-worker 1.5", "use 0 to 1"))
    shared = ("--gpus-per-worker", "0.5", "--workers", "2", "--cpus-per-worker", "1")
    refused(verb, "demo", *shared, what=("--gpus-per-worker 0.5 with --workers 2", "NCCL"))


def test_pretrained_weights_without_network_say_which_path_would_do(refused, monkeypatch, camvid_root):
    import segmentation_models_pytorch as smp

    def offline(*words, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr(smp.encoders, "get_encoder", offline)
    refused(
        "run",
        "camvid",
        "--set",
        f"data.camvid.root={camvid_root}",
        "--set",
        "train.network.weights=imagenet",
        *TINY,
        what=("'imagenet' of resnet18 could not be downloaded", "resnet18.pth", "none"),
    )


def test_a_trial_without_retry_is_refused_and_nothing_is_looked_up(refused):
    refused("resume", "one", "--trial", "t0123456789", what=("--trial t0123456789", "add --retry failed"))


def test_a_sweep_of_a_newer_version_is_not_resumed(nightshift, tmp_path):
    request = tmp_path / "sweeps" / "one" / "request.json"
    request.parent.mkdir(parents=True)
    request.write_text('{"schema_version": 99, "experiment": "demo", "name": "one", "unheard_of": 1}')
    done = nightshift("resume", "one", "--storage", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    for part in (str(request), "schema version 99", "upgrade nightshift"):
        assert part in done.err


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ('{"experiment": "demo", "name": "one", "trails": 3}', ("request.trails", "not permitted")),
        ('{"experiment": "demo", "name": "one", "trials": "many"}', ("request.trials", "'many'")),
        ('{"experiment": "demo", ', ("is damaged",)),
    ],
)
def test_a_request_with_an_unknown_field_or_a_wrong_type_is_named(nightshift, tmp_path, record, what):
    request = tmp_path / "sweeps" / "one" / "request.json"
    request.parent.mkdir(parents=True)
    request.write_text(record)
    done = nightshift("resume", "one", "--storage", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    for part in (str(request), *what):
        assert part in done.err


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_name_that_names_no_folder_is_refused(refused, verb):
    refused(verb, "demo", "--name", "../up", what=("'../up'", "a letter first"))


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "demo", "--trials", "0"),
        ("run", "demo", "--seed", "-1"),
        ("sweep", "demo", "--sampler", "tpee"),
        ("sweep", "demo", "--sampler", "grid", "--trials", "many"),
        ("run",),
        ("run", "demo", "--sede", "1"),
        ("rnu", "demo"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_line_too(nightshift, words):
    done = nightshift(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("nightshift: ")


def test_a_leaderboard_that_is_not_there_says_how_to_make_one(nightshift, tmp_path):
    done = nightshift("leaderboard", "--storage", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "nightshift run demo --storage" in done.err
