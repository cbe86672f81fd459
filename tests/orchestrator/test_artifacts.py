import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.artifacts import Artifact, DamagedArtifact, Store
from orchestrator.graph import Seeds
from tests.orchestrator import fakes
from trainers.context import PlainContext
from trainers.errors import UserError

ROOT = Path(__file__).parents[2]


def fill(store, text="weights", key="k1"):
    output = store.partial(key) / "output"
    (output / "deep").mkdir(parents=True)
    (output / "value.txt").write_text(text)
    (output / "deep" / "more.txt").write_text(text * 2)
    return output


def publish(store, output, key="k1", **changes):
    known = {"content": {"config": {}}, "result": {"steps": 3}, "seconds": 1.5}
    return store.publish(output, method="fake", key=key, **{**known, **changes})


def test_what_is_published_is_found_with_its_result(tmp_path):
    store = Store(tmp_path)
    assert store.find("fake", "k1") is None
    publish(store, fill(store))
    artifact = Store(tmp_path).find("fake", "k1")
    assert artifact.folder == tmp_path / "artifacts" / "fake" / "k1"
    assert artifact.result == {"steps": 3}
    assert artifact.seconds == 1.5
    assert set(artifact.manifest["files"]) == {"value.txt", "deep/more.txt"}
    assert artifact.verified() is artifact
    assert [one.folder for one in store.published("fake")] == [artifact.folder]


def test_the_manifest_is_written_when_all_else_is_there(tmp_path, monkeypatch):
    """A kill before the manifest leaves no artifact; one before the move does not either."""
    store = Store(tmp_path)
    output = fill(store)
    seen = []

    def stop(path, text):
        seen.append((path.name, sorted(one.name for one in output.rglob("*"))))
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.artifacts.write_durably", stop)
    with pytest.raises(KeyboardInterrupt):
        publish(store, output)
    assert seen == [("manifest.json", ["deep", "more.txt", "value.txt"])]
    assert not store.exists("fake", "k1")
    assert store.find("fake", "k1") is None
    monkeypatch.undo()

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        publish(store, output)
    assert not store.exists("fake", "k1")


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    store = Store(tmp_path)
    folder = store.folder("fake", "k1")
    folder.mkdir(parents=True)
    (folder / "value.txt").write_text("torn")
    assert store.find("fake", "k1") is None
    assert list(store.published("fake")) == []


def test_the_first_of_two_publications_stays(tmp_path):
    store = Store(tmp_path)
    publish(store, fill(store, "first"))
    second = store.root / "aside"
    fill(store, "second").rename(second)
    artifact = publish(store, second)
    assert (artifact.file("value.txt")).read_text() == "first"
    assert not second.exists()


PUBLISH = """
import sys, time
from pathlib import Path
from orchestrator.artifacts import Artifact, DamagedArtifact, Store
storage, number = Path(sys.argv[1]), sys.argv[2]
output = storage / f"aside-{number}"
output.mkdir()
for index in range(20):
    (output / f"{index}.txt").write_text(number)
(storage / f"ready-{number}").touch()
while not (storage / "go").exists():
    time.sleep(0.001)
Store(storage).publish(output, method="fake", key="k1", content={}, result={"by": number}, seconds=0)
"""


def test_of_many_processes_that_publish_at_once_one_wins_whole(tmp_path):
    command = [sys.executable, "-c", PUBLISH, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(4)]
    while len(list(tmp_path.glob("ready-*"))) < 4:
        assert all(process.poll() is None for process in processes)
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in processes] == [0] * 4
    store = Store(tmp_path)
    artifact = store.find("fake", "k1")
    assert {path.read_text() for path in artifact.folder.glob("*.txt")} == {artifact.result["by"]}
    assert list(tmp_path.glob("aside-*")) == []


def test_an_empty_folder_in_the_way_does_not_hide_a_failed_publication(tmp_path):
    store = Store(tmp_path)
    torn = store.folder("fake", "k1")
    torn.mkdir(parents=True)
    (torn / "value.txt").write_text("no manifest")
    with pytest.raises(OSError, match="not empty"):
        publish(store, fill(store))


DAMAGE = {
    "shorter": lambda path: path.write_text("x"),
    "other bytes": lambda path: path.write_text(path.read_text().swapcase()),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_names_the_file(tmp_path, kind):
    store = Store(tmp_path)
    artifact = publish(store, fill(store))
    DAMAGE[kind](artifact.folder / "deep" / "more.txt")
    named = re.escape(str(artifact.folder / "deep" / "more.txt"))
    with pytest.raises(DamagedArtifact, match=f"{named} .*doctor --repair"):
        store.find("fake", "k1")
    with pytest.raises(DamagedArtifact, match=named):
        artifact.file("deep/more.txt")
    assert artifact.file("value.txt").read_text() == "weights", "of the others one is told nothing"


def test_what_was_whole_once_is_not_read_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    publish(store, fill(store))
    store.find("fake", "k1")
    monkeypatch.setattr("orchestrator.artifacts.hash_file", lambda *path, **options: pytest.fail("read again"))
    assert Store(tmp_path).find("fake", "k1") is not None


@pytest.mark.usefixtures("fake_methods")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_walk_reports_a_damaged_artifact_and_makes_it_again(tmp_path, kind):
    first = {report.name: report for report in fakes.walk(tmp_path)}
    store = Store(tmp_path)
    folder = store.folder("fake", first["train"].key)
    whole = (folder / "value.txt").read_text()
    DAMAGE[kind](folder / "value.txt")
    store.quarantine(store.folder("fake_plain", first["val@best"].key))  # So that the training is needed.
    events = []
    again = {report.name: report.hit for report in fakes.walk(tmp_path, observe=events.append)}
    assert again == {"source": True, "translate": True, "train": False, "val@best": False, "val@final": True}
    assert (folder / "value.txt").read_text() == whole
    (told,) = [event for event in events if event.kind == "damaged"]
    assert told.stage == "train"
    assert str(folder / "value.txt") in told.text
    (grave,) = (tmp_path / "quarantine").glob("artifacts-fake-*")
    assert str(grave) in told.text
    assert (grave / "manifest.json").is_file()
    assert all(report.hit for report in fakes.walk(tmp_path))


@pytest.mark.usefixtures("fake_methods")
def test_a_damaged_artifact_that_nobody_needs_is_moved_away_only(tmp_path):
    first = {report.name: report for report in fakes.walk(tmp_path)}
    folder = Store(tmp_path).folder("fake_plain", first["source"].key)
    (folder / "value.txt").unlink()
    events = []
    again = {report.name: report.hit for report in fakes.walk(tmp_path, observe=events.append)}
    assert again == {"translate": True, "train": True, "val@best": True, "val@final": True}
    assert [event.stage for event in events if event.kind == "damaged"] == ["source"]
    assert not folder.exists()


@pytest.mark.usefixtures("fake_methods")
def test_two_who_find_the_same_damage_both_go_on(tmp_path, monkeypatch):
    """The other one moves the artifact away between our look and our move."""
    best = next(report for report in fakes.walk(tmp_path) if report.name == "val@best")
    (Store(tmp_path).folder("fake_plain", best.key) / "value.txt").write_text("x")
    quarantine = Store.quarantine

    def late(store, folder):
        quarantine(Store(tmp_path), folder)
        return quarantine(store, folder)

    monkeypatch.setattr(Store, "quarantine", late)
    assert [report.name for report in fakes.walk(tmp_path) if not report.hit] == ["val@best"]


@pytest.mark.usefixtures("fake_methods")
def test_a_stage_whose_manifest_is_damaged_is_made_again(tmp_path):
    first = {report.name: report for report in fakes.walk(tmp_path)}
    manifest = Store(tmp_path).folder("fake_plain", first["val@best"].key) / "manifest.json"
    manifest.write_text(manifest.read_text()[:40])
    events = []
    again = {report.name: report.hit for report in fakes.walk(tmp_path, observe=events.append)}
    assert [name for name, hit in again.items() if not hit] == ["val@best"]
    (told,) = [event for event in events if event.kind == "damaged"]
    assert str(manifest) in told.text


@pytest.mark.usefixtures("fake_methods")
def test_an_artifact_of_a_newer_version_is_refused_and_left_where_it_is(tmp_path):
    first = {report.name: report for report in fakes.walk(tmp_path)}
    manifest = Store(tmp_path).folder("fake_plain", first["val@best"].key) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    with pytest.raises(UserError, match=r"schema version 99.*upgrade nightshift") as caught:
        fakes.walk(tmp_path)
    assert str(manifest) in str(caught.value)
    assert manifest.is_file()


@pytest.mark.usefixtures("fake_methods")
def test_a_row_s_training_is_made_again_where_only_its_evaluations_are_left(tmp_path):
    """A trial that ends needs its steps and curves, although no evaluation has to run."""
    from orchestrator.trial import Place, Trial, run_trial

    place = Place(tmp_path, {}, {})
    one = Trial.of(fakes.study(), fakes.study().arms["plain"], {}, Seeds(0, 0, "last"), place)

    def run():
        return run_trial(
            one,
            make_context=lambda folder, *, on_report, guard: PlainContext(folder, on_report=on_report, guard=guard),
            observe=lambda event: None,
        )

    tmp_path.mkdir(exist_ok=True)
    assert run().training == {"value": 0}
    (Store(tmp_path).folder("fake", one.planned["train"].key) / "value.txt").write_text("harm")
    Artifact._verified.clear()  # As in another process.
    again = run()
    assert again.training == {"value": 0}
    assert [stage["name"] for stage in again.stages if not stage["hit"]] == ["train"]


@pytest.mark.usefixtures("fake_methods")
def test_who_lost_the_lease_takes_what_the_other_one_made(tmp_path):
    """This process stood still in the middle of a stage; another one takes over and finishes it."""
    from orchestrator.leases import LeaseLost

    events = []

    def observe(event):
        events.append(event)
        if [one.kind for one in events].count("progress") == 1 and event.kind == "progress":
            next(tmp_path.glob("partial/*/lease")).unlink()
            fakes.walk(tmp_path, ends=["source"])
            raise LeaseLost("taken over")

    (report,) = fakes.walk(tmp_path, ends=["source"], observe=observe)
    assert [event.kind for event in events] == ["start", "progress", "lost", "hit"]
    assert report.hit


def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path):
    store = Store(tmp_path)
    artifact = publish(store, fill(store))
    path = artifact.folder / "manifest.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=r"manifest .* is damaged .*doctor.*moves it away") as caught:
        Store(tmp_path).find("fake", "k1")
    assert str(path) in str(caught.value)


@pytest.mark.usefixtures("fake_methods")
def test_nothing_of_a_stage_in_progress_outlives_its_publication(tmp_path):
    fakes.walk(tmp_path)
    assert list((tmp_path / "partial").rglob("*")) == []


def litter(folder, holder):
    """What a killed maker leaves: its lease, a checkpoint, files of leases; ``holder`` is a process of this host."""
    (folder / "step-00000010").mkdir(parents=True)
    (folder / "step-00000010" / "state.pt").write_bytes(b"state")
    (folder / ".0123.lease-aside").write_text("{")
    record = {"token": "0123", "host": socket.gethostname(), "pid": holder.pid, "beats": 1}
    (folder / "lease").write_text(json.dumps({**record, "started": holder.create_time()}))


@pytest.mark.usefixtures("fake_methods")
def test_what_was_published_just_before_a_kill_is_tidied_up_by_whoever_meets_it_next(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    holder = psutil.Process(child.pid)
    partial = tmp_path / "partial" / fakes.keys(fakes.study())["train"]
    fakes.walk(tmp_path)
    litter(partial, holder)
    fakes.walk(tmp_path)
    assert (partial / "step-00000010" / "state.pt").is_file(), "its maker is alive and tidies up itself"
    child.kill()
    child.wait()
    fakes.walk(tmp_path)
    assert list((tmp_path / "partial").rglob("*")) == []


@pytest.mark.usefixtures("fake_methods")
def test_the_files_of_killed_waiters_go_with_the_stage_that_they_waited_for(tmp_path):
    partial = tmp_path / "partial" / fakes.keys(fakes.study())["train"]
    litter(partial, psutil.Process())
    (partial / "lease").unlink()
    fakes.walk(tmp_path)
    assert list((tmp_path / "partial").rglob("*")) == []


@pytest.mark.usefixtures("fake_methods")
def test_the_manifest_says_what_the_key_is_the_hash_of(tmp_path):
    from orchestrator.graph import digest

    for report in fakes.walk(tmp_path):
        (path,) = tmp_path.glob(f"artifacts/*/{report.key}/manifest.json")
        assert digest(json.loads(path.read_text())["content"]) == report.key
