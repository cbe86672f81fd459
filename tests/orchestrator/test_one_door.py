"""Damaged bytes are named by every verb and reader that would have used them, and none uses them."""

import json
import sys
from types import SimpleNamespace

import pytest

from orchestrator.artifacts import Artifact, DamagedArtifact, Store, artifact_around, verify_named
from orchestrator.doctor import examine
from orchestrator.overrides import split_roots
from orchestrator.record import curve_rows
from orchestrator.records import Damaged
from orchestrator.single_stage import make_stage
from orchestrator.trial import run_trial
from tests.orchestrator import fakes
from trainers.checkpoint import write_checkpoint
from trainers.context import PlainContext
from trainers.errors import UserError


def flip(path, place=-1):
    """Change one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    Artifact._verified.clear()  # As in another process.


@pytest.fixture
def artifact(tmp_path):
    """The artifact of a training, as far as the command line looks into it."""
    folder = tmp_path / "storage" / "artifacts" / "supervised" / "abc123"
    (folder / "images").mkdir(parents=True)
    for name in ("best.pt", "final.pt", "images/0.png"):
        (folder / name).write_bytes(b"some bytes")
    (folder / "segmenter.json").write_text("{}")
    fakes.seal(folder)
    Artifact._verified.clear()
    return folder


def named(done, path):
    assert done.code == 2, done
    assert done.err.count("\n") == 1, done.err
    assert f"{path} differs from its manifest in size or hash" in done.err
    assert "doctor --repair" in done.err


READERS = {
    "predict by key": ("best.pt", ["predict", "artifact:abc", "--data", ".", "--output", "out"]),
    "predict a folder": ("best.pt", ["predict", "{folder}", "--data", ".", "--output", "out"]),
    "predict a file": ("final.pt", ["predict", "{folder}/final.pt", "--data", ".", "--output", "out"]),
    "predict by its description": ("segmenter.json", ["predict", "artifact:abc", "--data", ".", "--output", "out"]),
    "init": ("best.pt", ["show", "demo", "--init", "artifact:abc"]),
    "init by path": ("best.pt", ["show", "demo", "--init", "{folder}/best.pt"]),
    "weights": ("final.pt", ["show", "demo", "--set", "train.network.weights={folder}/final.pt"]),
    "features": ("final.pt", ["show", "dehazing", "--set", "dfs.features=segmenter@1:artifact:abc"]),
    "features by path": ("final.pt", ["show", "dehazing", "--set", "dfs.features=segmenter@1:{folder}"]),
    "a data set": ("images/0.png", ["show", "camvid", "--set", "data.camvid.root={folder}"]),
    "translate": ("final.pt", ["data", "translate", "artifact:abc", "--dataset", "images", "--root", "."]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_is_named_by_every_verb_that_reads_it(nightshift, artifact, tmp_path, monkeypatch, reader):
    monkeypatch.chdir(tmp_path)
    file, words = READERS[reader]
    flip(artifact / file)
    done = nightshift(*(word.format(folder=artifact) for word in words), "--storage", tmp_path / "storage")
    named(done, artifact / file)
    assert not (tmp_path / "out").exists()


def test_a_data_set_is_verified_before_a_stage_of_its_own_reads_it(artifact, tmp_path):
    flip(artifact / "images/0.png")
    with pytest.raises(DamagedArtifact, match=r"0\.png differs"):
        make_stage(None, storage=tmp_path / "storage", roots={"images": artifact / "images"}, observe=None)


def test_what_a_request_names_is_verified_again_at_a_resume(artifact):
    values = {"train.network.weights": str(artifact / "best.pt"), "train.loss.alpha": 0.5, "train.select": None}
    split_roots(values)
    flip(artifact / "best.pt")
    with pytest.raises(DamagedArtifact):
        split_roots(values)


def test_only_what_is_named_of_an_artifact_is_read(artifact):
    flip(artifact / "final.pt")
    verify_named([artifact / "best.pt", "imagenet", "segmenter@1:artifact:99", 3, None, "/nowhere", "relative/best.pt"])
    with pytest.raises(DamagedArtifact):
        verify_named([artifact])


def test_a_file_is_read_once_in_a_process_for_however_many_trials(artifact, monkeypatch):
    read = []
    from trainers.data.fingerprint import hash_file

    monkeypatch.setattr(
        "orchestrator.artifacts.hash_file", lambda path, **options: read.append(path) or hash_file(path, **options)
    )
    for _ in range(3):
        Store(artifact.parents[2]).find("supervised", "abc123")
        artifact_around(artifact / "best.pt").file("best.pt")
    assert sorted(path.name for path in read) == ["0.png", "best.pt", "final.pt", "segmenter.json"]


def test_a_changed_result_in_a_manifest_is_named(tmp_path):
    store = Store(tmp_path)
    output = store.partial("k1") / "output"
    output.mkdir(parents=True)
    made = store.publish(output, method="fake", key="k1", content={}, result={"miou": 0.25}, seconds=1.0)
    path = made.folder / "manifest.json"
    path.write_text(path.read_text().replace("0.25", "0.35"))
    for look in (store.peek, store.find):
        with pytest.raises(Damaged, match=r"manifest .*manifest\.json is damaged \(its bytes are not those"):
            look("fake", "k1")
    (finding,) = [one for one in examine(tmp_path) if one.path == made.folder]
    assert "its bytes are not those that were written" in finding.problem


def test_an_artifact_from_before_manifests_were_sealed_is_read(artifact):
    path = artifact / "manifest.json"
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"})
    )
    assert Store(artifact.parents[2]).find("supervised", "abc123") is not None


def test_a_folder_that_was_copied_over_another_key_is_no_artifact_of_that_key(artifact):
    copy = artifact.with_name("def456")
    artifact.rename(copy)
    with pytest.raises(Damaged, match=r"another one's \(supervised/abc123\)"):
        Store(artifact.parents[2]).peek("supervised", "def456")


@pytest.mark.usefixtures("fake_methods")
def test_curves_are_verified_before_they_become_rows(tmp_path):
    fakes.walk(tmp_path)
    trial = fakes.trial(tmp_path)
    planned = trial.planned["train"]
    output = Store(tmp_path).partial("curves") / "output"
    output.mkdir(parents=True)
    (output / "curves.json").write_text('[[1, "loss", 0.5]]')
    Store(tmp_path).publish(output, method=planned.method.name, key=planned.key, content={}, result={}, seconds=1.0)
    assert [row["value"] for row in curve_rows(trial, sweep="s", attempt=0)] == [0.5]
    path = Store(tmp_path).folder(planned.method.name, planned.key) / "curves.json"
    path.write_text('[[1, "loss", 0.9]]')
    Artifact._verified.clear()
    with pytest.raises(DamagedArtifact, match=r"curves\.json differs"):
        curve_rows(trial, sweep="s", attempt=0)


def resuming(config, inputs, output, seed, context):
    return {"resumed": context.resume() is not None}


@pytest.fixture
def resumable(tmp_path, monkeypatch, fake_methods):
    """A trial whose training finds a checkpoint in the storage."""
    from orchestrator.graph import Seeds
    from orchestrator.trial import Place, Trial

    monkeypatch.setitem(sys.modules, "fakes.fake", SimpleNamespace(check=fakes.check, run=resuming))
    trial = Trial.of(fakes.study(), fakes.study().arms["plain"], {}, Seeds(0, 0, "last"), Place(tmp_path, {}, {}))
    partial = Store(tmp_path).partial(trial.planned["train"].key)
    checkpoint = write_checkpoint(partial, 20, lambda folder: (folder / "state.pt").write_bytes(bytes(range(256))))
    events = []

    def run():
        return run_trial(
            trial,
            make_context=lambda folder, *, on_report, guard: PlainContext(folder, on_report=on_report, guard=guard),
            observe=events.append,
        )

    return SimpleNamespace(run=run, checkpoint=checkpoint, events=events)


@pytest.mark.parametrize("place", [0, 100, 255])
def test_a_trial_never_continues_from_a_flipped_bit_nor_starts_afresh(resumable, tmp_path, place):
    flip(resumable.checkpoint / "state.pt", place)
    outcome = resumable.run()
    assert (outcome.status, outcome.failure_class, outcome.trace) == ("failed", "invalid", None)
    for part in (f"{resumable.checkpoint / 'state.pt'} differs from checksums.json", f"delete {resumable.checkpoint}"):
        assert part in outcome.message
    assert resumable.checkpoint.is_dir()
    (finding,) = [one for one in examine(tmp_path) if one.path == resumable.checkpoint]
    assert "state.pt differs" in finding.problem
    assert "restore it, or delete" in finding.remedy
    assert finding.repair is None


def test_a_whole_checkpoint_is_continued_and_an_unsealed_one_with_a_word(resumable):
    (resumable.checkpoint / "checksums.json").unlink()
    assert resumable.run().training == {"resumed": True}
    (told,) = [event for event in resumable.events if event.kind == "warning"]
    assert "before checkpoints had checksums" in told.text


def test_a_whole_checkpoint_is_continued_without_a_word(resumable):
    assert resumable.run().training == {"resumed": True}
    assert [event for event in resumable.events if event.kind == "warning"] == []


def test_a_damaged_file_of_a_user_is_never_his_folder_to_delete(nightshift, tmp_path):
    (tmp_path / "html.pth").write_text("<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n")
    words = ["--set", f"train.network.weights={tmp_path / 'html.pth'}", "--storage", tmp_path / "storage"]
    from trainers.components.configs import NetworkConfig
    from trainers.networks.segmentation import build_segmenter

    with pytest.raises(UserError) as caught:
        build_segmenter(NetworkConfig(weights=str(tmp_path / "html.pth")), pretrained=True)
    for part in ("html.pth cannot be read: it is an HTML page", "torch.save(model.state_dict(), PATH)"):
        assert part in str(caught.value)
    assert "delete" not in str(caught.value)
    assert nightshift("show", "demo", *words).code == 0
