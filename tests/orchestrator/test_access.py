"""A storage that a group shares: what one user makes the next can use; where that is not so, one line says the cure."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator import access
from orchestrator.access import is_denied, no_access, own_umask, unshared, write_for_group
from orchestrator.doctor import examine
from orchestrator.files import require_writable
from orchestrator.trial import failure
from trainers.errors import UserError

ROOT = Path(__file__).parents[2]
ALICE, BOB, GROUP = 65534, 65533, 65530

USE = """
import sys
from pathlib import Path
from orchestrator.files import require_writable
from orchestrator.ledger import Ledger
from results.store import write_scores
from tests.orchestrator import fakes
from tests.orchestrator.test_doctor import ATTEMPT, row
from trainers import registry
from trainers.checkpoint import write_checkpoint
storage, me = Path(sys.argv[1]), sys.argv[2]
require_writable(storage)
fakes.install(registry.METHODS, sys.modules)
fakes.walk(storage, fakes.study(train={"value": int(me)}))
ledger = Ledger(storage, "s")
ledger.open({"experiment": "e"})
ledger.begin("t0", ATTEMPT)
ledger.finish("t0", int(me) % 10, {"status": "failed", "scores": {"val": fakes.SCORE}})
ledger.write_failure("t0", int(me) % 10, "trace")
write_scores(storage, [row(["k1"], attempt=int(me) % 10)])
write_checkpoint(storage / "partial" / "k1", int(me), lambda folder: (folder / "state").touch())
"""


@pytest.fixture
def users(request):
    """Runs a program as one of two users of a group, umask 022, who may read every file and write what modes allow."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can act as two users")

    def run(user, *words, text=True):
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}"]
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return subprocess.run(
            [*become, *reading, sys.executable, *map(str, words)],
            cwd=ROOT, text=text, capture_output=True, umask=0o022, check=False,
            env={**os.environ, "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    return run


@pytest.fixture
def lab():
    """A folder of the group, as an administrator makes one."""
    folder = Path(tempfile.mkdtemp(prefix="nightshift-lab-"))
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("where", ["", "runs"], ids=["the storage is the group's", "the folder around it is"])
def test_two_users_of_a_group_work_in_one_storage(users, lab, where):
    storage = lab / where
    for user in (ALICE, BOB):
        done = users(user, "-c", USE, storage, user)
        assert done.returncode == 0, done.stderr
    for path in storage.rglob("*"):
        mode = path.stat().st_mode
        assert path.stat().st_gid == GROUP, path
        assert mode & stat.S_IWGRP, f"{path} {stat.filemode(mode)}"
        assert mode & stat.S_ISGID or path.is_file(), path
    done = users(BOB, "-m", "orchestrator", "doctor", "--storage", storage)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_private_storage_holds_keeps_its_user_s_modes(users, lab):
    lab.chmod(0o755)
    os.chown(lab, ALICE, ALICE)
    done = users(ALICE, "-c", USE, lab, ALICE)
    assert done.returncode == 0, done.stderr
    assert not any(path.stat().st_mode & stat.S_IWGRP for path in lab.rglob("*"))


FOLDERS = ["artifacts", "artifacts/fake", "partial", "sweeps", "leaderboard", "leaderboard/scores", "fingerprints"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_that_a_run_writes_to_is_probed(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode, **options: Path(path) != tmp_path / folder)
    with pytest.raises(UserError, match=f"may not use {tmp_path / folder} .*chmod -R g"):
        require_writable(tmp_path)


@pytest.mark.parametrize("folder", ["artifacts/fake", "leaderboard/scores"])
def test_a_folder_that_its_maker_kept_to_himself_is_refused_with_the_cure(users, lab, folder):
    (lab / "artifacts" / "fake").mkdir(parents=True)
    (lab / folder).mkdir(parents=True, exist_ok=True)
    for path in lab.rglob("*"):
        os.chown(path, ALICE, GROUP)
        path.chmod(0o2775)
    (lab / folder).chmod(0o755)
    done = users(BOB, "-m", "orchestrator", "run", "demo", "--storage", lab)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for part in (
        f"{BOB} may not use {lab / folder}",
        "drwxr-xr-x",
        f"chgrp -R {GROUP} {lab / folder}",
        "chmod -R g+rwX",
    ):
        assert part in done.stderr, done.stderr
    for user in (ALICE, BOB):
        checked = users(user, "-m", "orchestrator", "doctor", "--storage", lab)
        assert checked.returncode == 2
        assert f"{lab / folder}: the group {GROUP} of the storage cannot write here (drwxr-xr-x)" in checked.stdout
        assert checked.stderr == ""
    command = done.stderr.partition("`")[2].partition("`")[0]
    assert subprocess.run(command, shell=True, check=True).returncode == 0
    assert list(unshared(lab)) == []


@pytest.mark.parametrize("folder", ["sweeps/s", "sweeps/s/attempts"])
def test_a_sweep_that_its_maker_kept_to_himself_is_one_line_too(users, lab, folder):
    (lab / "sweeps/s/attempts").mkdir(parents=True)
    for path in lab.rglob("*"):
        path.chmod(0o2775)
    (lab / folder).chmod(0o755)
    os.chown(lab / folder, ALICE, GROUP)
    done = users(BOB, "-c", LEDGER, lab)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"may not use {lab / folder}" in done.stderr
    assert f"chmod -R g+rwX {lab / folder}" in done.stderr


LEDGER = """
import sys
from pathlib import Path
from orchestrator import cli
from orchestrator.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), "s")
cli.app = lambda standalone_mode: [ledger.open({"experiment": "e"}), ledger.begin("t0", {"varied": {}, "seed": 0})]
cli.main()
"""


def test_a_trial_that_may_not_write_is_a_mistake_with_a_cure_and_no_bug(tmp_path):
    path = tmp_path / "partial" / "k1" / "lease"
    outcome = failure(PermissionError(errno.EACCES, "Permission denied", str(path)), tmp_path)
    assert outcome.failure_class == "invalid"
    assert outcome.trace is None
    assert str(tmp_path) in outcome.message
    assert failure(PermissionError(errno.EACCES, "no", "/etc/shadow"), tmp_path).failure_class == "bug"


def test_only_what_the_system_denies_is_denied(tmp_path):
    assert is_denied(OSError(errno.EROFS, "read-only", str(tmp_path)))
    assert not is_denied(OSError(errno.EROFS, "read-only"))
    assert not is_denied(OSError(errno.ENOENT, "no such file", str(tmp_path)))
    assert not is_denied(ValueError("x"))


def test_the_umask_changes_for_a_shared_storage_alone_and_ray_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "_own_umask", [])
    before = os.umask(0o022)
    try:
        write_for_group(tmp_path / "private" / "runs")
        assert os.umask(0o022) == 0o022
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o2775)
        write_for_group(tmp_path / "shared" / "runs")
        with own_umask():
            assert os.umask(0o022) == 0o022
        assert os.umask(0o022) == 0o002
    finally:
        os.umask(before)


def test_doctor_names_what_the_group_cannot_write_and_counts_the_rest(tmp_path):
    for folder in ("sweeps/a", "sweeps/b", "partial"):
        (tmp_path / folder).mkdir(parents=True)
    tmp_path.chmod(0o2775)
    found = [one for one in examine(tmp_path) if "cannot write here" in one.problem]
    assert [one.path for one in found] == [tmp_path / "partial", tmp_path / "sweeps"]
    assert "and 2 more folders" in found[1].problem
    assert f"chmod -R g+rwX {tmp_path / 'sweeps'}" in found[1].remedy
    assert all(one.repair is None for one in found)
    tmp_path.chmod(0o755)
    assert list(unshared(tmp_path)) == []


def test_the_cure_of_a_read_only_file_system_is_another_folder(tmp_path, monkeypatch):
    class Statistics:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda path: Statistics)
    assert "read-only file system" in no_access(tmp_path / "x")


def test_a_storage_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match="cannot be used"):
        require_writable(tmp_path / "runs")
