import os
from dataclasses import replace

import pytest

from orchestrator import data_sight, preflight, resources, spaces
from orchestrator.experiments.camvid import camvid
from orchestrator.experiments.demo import toy_city
from orchestrator.preflight import Request, check_workers, data_roots, device_type, find_arms, place, the_arm
from tests.orchestrator.fakes import study
from trainers.data.datasets import DataSplit
from trainers.errors import UserError


@pytest.fixture(autouse=True)
def two_cores_and_no_gpu(monkeypatch):
    monkeypatch.setattr(preflight, "num_cpus", lambda: 2)
    monkeypatch.setattr(preflight, "num_gpus", lambda: 0)


def camvid_place(storage, root, **changes):
    experiment = camvid()
    request = Request(**{"storage": storage, "roots": {"camvid": root}} | changes)
    return place(experiment, experiment.arms.values(), request)


def refusal(call, *words, **options):
    with pytest.raises(UserError) as caught:
        call(*words, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_place_knows_every_split_that_is_read(tmp_path, camvid_root):
    found = camvid_place(tmp_path / "storage", camvid_root)
    assert sorted(found.fingerprints) == [
        f"camvid/{name}" for name in ("day_train", "day_val", "dusk_adapt", "dusk_val")
    ]
    assert len(set(found.fingerprints.values())) == 4
    assert found.roots == {"camvid": camvid_root}
    assert (found.device_type, found.workers, found.threads) == ("cpu", 0, 2)


def test_a_made_data_set_needs_no_root_and_takes_none(tmp_path, camvid_root):
    experiment = toy_city()
    arms = experiment.arms.values()
    assert place(experiment, arms, Request(storage=tmp_path)).fingerprints == {}
    text = refusal(place, experiment, arms, Request(storage=tmp_path, roots={"toy_city": camvid_root}))
    for part in ("makes the data set toy_city itself", "stage city", "drop data.toy_city.root"):
        assert part in text


def test_a_copy_elsewhere_has_the_same_fingerprints(tmp_path, camvid_root):
    first = camvid_place(tmp_path / "a", camvid_root)
    moved = camvid_root.rename(tmp_path / "moved")
    assert camvid_place(tmp_path / "b", moved).fingerprints == first.fingerprints


def test_fingerprints_are_remembered_and_made_anew_when_a_file_changes(tmp_path, camvid_root, monkeypatch):
    first = camvid_place(tmp_path / "storage", camvid_root)
    read = []
    fingerprint = data_sight.fingerprint

    def reading(root, files, **options):
        read.append(len(list(files)))
        return fingerprint(root, files, **options)

    monkeypatch.setattr(data_sight, "fingerprint", reading)
    assert camvid_place(tmp_path / "storage", camvid_root).fingerprints == first.fingerprints
    assert read == []

    label = camvid_root / "labels" / "day_val_0.png"
    content, size = label.read_bytes(), label.stat().st_size
    label.write_bytes((camvid_root / "labels" / "day_val_1.png").read_bytes())
    os.utime(label, ns=(1, 1))
    assert label.stat().st_size == size
    changed = camvid_place(tmp_path / "storage", camvid_root)
    differ = {name for name in first.fingerprints if first.fingerprints[name] != changed.fingerprints[name]}
    assert differ == {"camvid/day_val"}
    assert read == [4]

    label.write_bytes(content)
    os.utime(label, ns=(2, 2))
    assert camvid_place(tmp_path / "storage", camvid_root).fingerprints == first.fingerprints


def test_missing_data_is_named_with_the_fix(tmp_path, camvid_root):
    experiment = camvid()
    text = refusal(place, experiment, experiment.arms.values(), Request(storage=tmp_path))
    for part in ("no folder is known for the data set camvid", "--set data.camvid.root=DIR", "--data-root"):
        assert part in text
    text = refusal(camvid_place, tmp_path, camvid_root / "absent")
    for part in (str(camvid_root / "absent"), "does not exist", "day_train.txt"):
        assert part in text
    (camvid_root / "day_val.txt").write_text("")
    assert "has no image of camvid/day_val" in refusal(camvid_place, tmp_path, camvid_root)
    (camvid_root / "day_val.txt").unlink()
    assert "day_val.txt is missing" in refusal(camvid_place, tmp_path, camvid_root)


def test_a_list_that_leaves_its_root_is_refused(tmp_path, camvid_root):
    (camvid_root / "day_val.txt").write_text("../../../etc/passwd\n")
    assert "must stay inside the root" in refusal(camvid_place, tmp_path / "storage", camvid_root)


def test_single_roots_win_over_the_folder_of_all(tmp_path, camvid_root):
    (tmp_path / "all" / "camvid").mkdir(parents=True)
    (tmp_path / "all" / "cityscapes").mkdir()
    roots = data_roots(Request(storage=tmp_path, data_root=tmp_path / "all", roots={"camvid": camvid_root}))
    assert roots == {"camvid": camvid_root, "cityscapes": tmp_path / "all" / "cityscapes"}
    text = refusal(data_roots, Request(storage=tmp_path, data_root=tmp_path / "absent"))
    assert f"--data-root {tmp_path / 'absent'} does not exist" in text


def test_relative_roots_and_storage_become_absolute(tmp_path, camvid_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = camvid_place(type(tmp_path)("storage"), type(tmp_path)("camvid"))
    assert found.storage == tmp_path / "storage"
    assert found.roots == {"camvid": camvid_root}


def test_a_storage_below_a_file_is_refused(tmp_path, camvid_root):
    (tmp_path / "file").write_text("")
    text = refusal(camvid_place, tmp_path / "file" / "storage", camvid_root)
    assert str(tmp_path / "file" / "storage") in text
    assert "give --storage a folder that you can write to" in text


def test_probing_the_storage_leaves_nothing(tmp_path, camvid_root):
    experiment = toy_city()
    place(experiment, experiment.arms.values(), Request(storage=tmp_path / "storage"))
    assert list((tmp_path / "storage").iterdir()) == []


@pytest.mark.parametrize(
    ("workers", "cpus", "cores"), [(0, None, 2), (1, None, 2), (2, None, 1), (1, 1, 1), (0, 1, 1), (2, 1, 1)]
)
def test_cores_are_shared_out_evenly(tmp_path, workers, cpus, cores):
    assert check_workers(Request(storage=tmp_path, workers=workers, cpus_per_worker=cpus)) == cores


@pytest.mark.parametrize(
    ("workers", "cpus", "said"),
    [
        (3, None, ["--workers 3", "3 cores", "has 2", "--workers 2 or fewer"]),
        (2, 2, ["2 core(s) each", "4 cores", "--workers 1 or fewer"]),
        (-1, None, ["--workers must be 0", "got -1"]),
        (0, 3, ["3 cores", "has 2", "--cpus-per-worker 2 or fewer"]),
        (2, 3, ["6 cores", "has 2", "--cpus-per-worker 1 or fewer"]),
    ],
)
def test_more_workers_than_cores_are_refused(tmp_path, workers, cpus, said):
    text = refusal(check_workers, Request(storage=tmp_path, workers=workers, cpus_per_worker=cpus))
    for part in said:
        assert part in text


def test_the_device_follows_what_there_is_and_what_is_asked_for(tmp_path, monkeypatch):
    def chosen(**options):
        return device_type(Request(storage=tmp_path, **options))

    assert chosen() == "cpu"
    assert chosen(gpus_per_worker=0.0) == "cpu"
    text = refusal(chosen, gpus_per_worker=1.0)
    for part in ("--gpus-per-worker 1", "needs 1 GPU(s)", "this machine has 0", "use --gpus-per-worker 0"):
        assert part in text
    monkeypatch.setattr(preflight, "num_gpus", lambda: 1)
    assert chosen() == "cuda"
    assert chosen(gpus_per_worker=1.0) == "cuda"
    assert chosen(gpus_per_worker=0.0) == "cpu"
    assert "needs 2 GPU(s)" in refusal(chosen, gpus_per_worker=1.0, workers=2)
    assert chosen(gpus_per_worker=0.5) == "cuda"
    assert "use 0 to 1" in refusal(chosen, gpus_per_worker=2.0)
    assert "NCCL" in refusal(chosen, gpus_per_worker=0.5, workers=2)


def test_a_place_says_what_each_rank_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "num_gpus", lambda: 2)
    experiment = toy_city()

    def bundles(**options):
        return place(experiment, experiment.arms.values(), Request(storage=tmp_path / "s", **options)).bundles

    assert bundles(gpus_per_worker=0.5, cpus_per_worker=1) == [{"CPU": 1, "GPU": 0.5}]
    assert bundles(workers=2, cpus_per_worker=1) == [{"CPU": 1, "GPU": 1.0}] * 2
    assert bundles(workers=1, gpus_per_worker=0.0, cpus_per_worker=2) == [{"CPU": 2}]


def test_a_cluster_is_counted_node_by_node_and_asked_before_anything_starts(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(preflight, "connect", lambda: None)
    monkeypatch.setattr(preflight, "check_nodes", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(preflight, "cluster_nodes", lambda: [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0}])
    experiment = toy_city()

    def on_cluster(**options):
        return place(experiment, experiment.arms.values(), Request(storage=tmp_path / "s", **options))

    found = on_cluster()
    assert (found.device_type, found.threads, found.gpus) == ("cuda", 1, 1.0)
    assert asked == [(tmp_path / "s", {}, {})]
    assert on_cluster(workers=2, gpus_per_worker=0.0, cpus_per_worker=4).device_type == "cpu"
    with pytest.raises(UserError, match="1 GPU too few"):
        on_cluster(workers=2)
    with pytest.raises(UserError, match="no way to place them"):
        on_cluster(workers=2, gpus_per_worker=0.0, cpus_per_worker=5)
    with pytest.raises(UserError, match="workers must be 0"):
        on_cluster(workers=-1)


@pytest.mark.parametrize(
    ("visible", "present", "count"),
    [
        ("", 2, 0), ("-1", 2, 0), ("0", 2, 1), ("0,1", 2, 2), ("1,0", 2, 2), ("GPU-a,GPU-b", 2, 2), (None, 2, 2),
        ("0", 0, 0), ("0,1", 1, 1), ("7,0", 2, 0), ("GPU-a", 0, 0), (None, 0, 0),
    ],
)  # fmt: skip
def test_gpus_count_that_exist_and_are_visible(monkeypatch, visible, present, count):
    """The variable alone proves nothing: Slurm and containers set it on machines without a GPU."""
    monkeypatch.undo()
    monkeypatch.setattr(resources, "num_gpus_of_driver", lambda: present)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert preflight.num_gpus() == count


def test_a_variable_that_names_a_gpu_that_is_not_there_plans_for_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "num_gpus_of_driver", lambda: 0)
    monkeypatch.setattr(preflight, "num_gpus", resources.num_gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    experiment = toy_city()
    planned = place(experiment, experiment.arms.values(), Request(storage=tmp_path))
    assert (planned.device_type, planned.gpus) == ("cpu", 0.0)


def test_arms_are_found_by_name():
    experiment = replace(study(), name="study")
    assert [arm.name for arm in find_arms(experiment, None)] == ["plain", "twice"]
    assert [arm.name for arm in find_arms(experiment, "twice,plain")] == ["twice", "plain"]
    assert "study has no arm 'plane': did you mean 'plain'" in refusal(find_arms, experiment, "plane")
    assert "give --arm one of plain, twice" in refusal(the_arm, experiment, None)
    assert the_arm(toy_city(), None).name == "supervised"


def test_searches_are_found_by_name():
    space = spaces.search_space(toy_city(), None)
    assert list(space) == ["train.loss.alpha"]
    assert "demo has no search 'loss_alfa': did you mean 'loss_alpha'" in refusal(
        spaces.search_space, toy_city(), "loss_alfa"
    )


def test_a_space_for_another_method_is_refused():
    wrong = replace(toy_city(), searches={"loss_alpha": {"city": "loss_alpha"}})
    assert "is for supervised, and the stage city is toy_city" in refusal(spaces.search_space, wrong, None)


def test_a_split_is_fingerprinted_by_the_files_it_names(tmp_path, camvid_root):
    split = DataSplit.model_validate("camvid/day_val")
    roots = {"camvid": camvid_root}
    before = data_sight.split_fingerprint(tmp_path / "storage", roots, split)
    (camvid_root / "images" / "unlisted.jpg").write_text("not in the list")
    assert data_sight.split_fingerprint(tmp_path / "storage", roots, split) == before
