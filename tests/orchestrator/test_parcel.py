"""Which files travel with a job."""

import subprocess

import pytest

from orchestrator.parcel import pack
from trainers.errors import UserError


@pytest.fixture
def project(tmp_path):
    for name in (
        "orchestrator/graph.py",
        "README.md",
        "notes.tmp",
        "keep.tmp",
        ".venv/bin/python",
        "runs/leaderboard/x.parquet",
        ".git/config",
        "deep/__pycache__/x.pyc",
        "deep/runs/y",
        "data/big.bin",
        "nightshift.egg-info/PKG-INFO",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.tmp\n!keep.tmp\n/data/\n")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    return tmp_path


def test_what_git_ignores_and_what_no_job_needs_stays_here(project, tmp_path_factory):
    parcel = pack(project)
    names = {".gitignore", "README.md", "keep.tmp", "orchestrator/graph.py"}
    assert {file.as_posix() for file in parcel.files} == names
    assert parcel.size_bytes == sum((project / name).stat().st_size for name in names)
    target = tmp_path_factory.mktemp("staged")
    parcel.copy_to(target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == names
    assert (target / "orchestrator/graph.py").read_text() == "orchestrator/graph.py"


def test_too_much_is_refused_with_the_ten_largest_files(project):
    for number in range(12):
        (project / f"weights{number:02d}.bin").write_bytes(bytes(1_000_000 + 100_000 * number))
    with pytest.raises(UserError) as error:
        pack(project, limit_bytes=5_000_000)
    said = str(error.value)
    assert "18.6 MB to send, and a job may have 5.0 MB" in said
    listed = said.partition("largest files: ")[2].split(", ")
    assert listed == [f"weights{number:02d}.bin {1 + number / 10:.1f} MB" for number in range(11, 1, -1)]
    assert len(pack(project, limit_bytes=19_000_000).files) == 16


@pytest.fixture
def folder(tmp_path):
    """An empty folder outside any repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(folder):
    subprocess.run(["git", "-C", folder, "init", "--quiet"], check=True)
    return folder


def write(folder, *names, text="x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def sent(folder, **options):
    return {file.as_posix() for file in pack(folder, **options).files}


@pytest.mark.parametrize("kind", ["folder", "repository"])
def test_nested_ignore_files_count(kind, request):
    place = request.getfixturevalue(kind)
    write(place, "a/x.log", "a/keep.log", "b/x.log", "a/deep/y.tmp")
    write(place, "a/.gitignore", text="*.log\n!keep.log\n/deep/\n")
    assert sent(place) == {"a/.gitignore", "a/keep.log", "b/x.log"}
    assert pack(place).left_out["ignored by git"] == 2  # A file and a folder.


def test_what_the_repository_excludes_by_itself_stays_and_what_it_tracks_is_sent(repository):
    write(repository, "notes.txt", "tracked.log", "gone.py", "new.py")
    write(repository, ".gitignore", text="*.log\n")
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "exclude").write_text("notes.txt\n")
    subprocess.run(["git", "-C", repository, "add", "--force", "tracked.log", "gone.py"], check=True)
    (repository / "gone.py").unlink()
    assert sent(repository) == {".gitignore", "tracked.log", "new.py"}


def test_a_folder_of_a_repository_and_a_repository_in_a_folder(repository):
    write(repository, ".gitignore", text="*.log\n")
    write(repository, "part/a.py", "part/b.log", "inner/c.py", "inner/d.tmp")
    subprocess.run(["git", "-C", repository / "inner", "init", "--quiet"], check=True)
    write(repository, "inner/.gitignore", text="*.tmp\n")
    assert sent(repository / "part") == {"a.py"}
    assert sent(repository) == {".gitignore", "part/a.py", "inner/c.py", "inner/.gitignore"}


def test_rayignore_counts_beside_gitignore(folder):
    write(folder, "a.bin", "data/b.bin", "data/c.py")
    write(folder, ".rayignore", text="/a.bin\n")
    write(folder, "data/.rayignore", text="*.bin\n")
    parcel = pack(folder)
    assert {file.as_posix() for file in parcel.files} == {".rayignore", "data/.rayignore", "data/c.py"}
    assert "2 named in .rayignore" in parcel.describe()


@pytest.mark.parametrize("target", ["outside.txt", "outside", "project-beside/x"])
def test_a_link_that_leaves_the_folder_is_refused_by_name(folder, target):
    write(folder.parent, "outside.txt", "project-beside/x")
    (folder.parent / "outside").mkdir()
    (folder / "link").symlink_to(folder.parent / target)
    with pytest.raises(UserError, match=f"link is a link that leaves .*{target}"):
        pack(folder)
    write(folder, ".gitignore", text="link\n")
    assert sent(folder) == {".gitignore"}


def test_links_that_stay_inside_are_sent_as_what_they_point_at(folder, tmp_path):
    write(folder, "data/a.txt", "data/deep/b.txt", text="content")
    (folder / "file").symlink_to("data/a.txt")
    (folder / "linked").symlink_to("data")
    (folder / "data" / "loop").symlink_to("..")
    (folder / "broken").symlink_to("absent")
    parcel = pack(folder)
    names = {"data/a.txt", "data/deep/b.txt", "file", "linked/a.txt", "linked/deep/b.txt"}
    assert {file.as_posix() for file in parcel.files} == names
    assert "1 broken links" in parcel.describe()
    assert "1 links to a folder around them" in parcel.describe()
    parcel.copy_to(tmp_path / "staged")
    assert {name: (tmp_path / "staged" / name).read_text() for name in names} == dict.fromkeys(names, "content")
    assert not any(path.is_symlink() for path in (tmp_path / "staged").rglob("*"))


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", ".netrc", "deep/.npmrc", "keys/id_rsa", "server.pem", ".aws/credentials", "kaggle.json"],
)
def test_what_is_named_like_a_secret_is_refused_unless_it_is_included(folder, name):
    write(folder, name, "train.py", ".env.example", "public.key.md")
    with pytest.raises(UserError, match="looks like a secret") as caught:
        pack(folder)
    assert str(caught.value).startswith(f"{name}: ")
    assert f"--include {name}" in str(caught.value)
    assert sent(folder, include=[name]) == {name, "train.py", ".env.example", "public.key.md"}
    write(folder, ".gitignore", text=f"{name}\n")
    assert name not in sent(folder)


def test_a_private_key_is_refused_whatever_it_is_called(folder):
    write(folder, "notes.txt", text="my key\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n")
    write(folder, "code.py", text='START = "-----BEGIN PRIVATE KEY-----"\n')
    with pytest.raises(UserError, match=r"^notes\.txt: looks like a secret"):
        pack(folder)


def test_a_link_does_not_carry_a_secret_that_stays(folder):
    write(folder, ".env", "train.py")
    write(folder, ".gitignore", text=".env\n")
    (folder / "settings").symlink_to(".env")
    with pytest.raises(UserError, match=r"^settings: looks like a secret"):
        pack(folder)


def test_every_secret_is_named_up_to_five(folder):
    write(folder, *(f"{letter}.pem" for letter in "abcdefg"))
    with pytest.raises(UserError, match=r"a\.pem, b\.pem, c\.pem, d\.pem, e\.pem and 2 more"):
        pack(folder)


def test_the_project_itself_can_be_sent():
    from pathlib import Path

    files = pack(Path(__file__).parents[2]).files
    assert Path("orchestrator/parcel.py") in files
    assert Path("pyproject.toml") in files
