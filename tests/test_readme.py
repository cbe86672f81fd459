"""The README tells the truth: its commands run, its tables are those of the published results."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from results import tables
from search_spaces import SPACES
from tests import readme_answers
from trainers.data.datasets import DATASETS
from trainers.registry import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TINY = [
    "--set", "train.loop.steps=3",
    "--set", "city.images={day: {train: 8, val: 2, test: 2}, night: {train: 2, val: 2, test: 2}}",
    "--set", "city_held_out.images={day: {held_out: 2}, night: {held_out: 2}}",
]  # fmt: skip

WRITTEN = ("city", "city.parquet")
"""What the commands write beside the storage; here it goes where tests write."""


def commands() -> list[str]:
    """Every `nightshift` command in a shell block of the README, comments cut off."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("   #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("nightshift ")]


def test_tables_are_those_of_the_published_results() -> None:
    assert tables.main(["--check"]) == 0


def test_answers_are_those_of_the_published_results() -> None:
    assert README.count("```console\n") >= 6
    assert readme_answers.render(README) == README, "the answers are out of date: run make tables"


def test_every_table_of_the_readmes_is_rendered() -> None:
    """A Markdown table of scores stands between markers, or it would go stale unseen."""
    for path in (ROOT / "README.md", *ROOT.glob("[a-z]*/README.md")):
        text = re.sub(r"<!-- table: .*?<!-- end -->", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"^\|.*\| \d\d?\.\d( ± \d+\.\d)? \|", text, re.MULTILINE), path


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)`", README)) | {"demo", "test"} <= targets


def test_every_file_that_the_readme_names_exists() -> None:
    for path in re.findall(r"\]\(([^)#]+)", README) + re.findall(r"→ (\S+README\.md)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("readme", "names"),
    [
        ("README.md", DATASETS),
        ("trainers/README.md", [name for name, module in METHODS.items() if module.startswith("trainers.")]),
        ("search_spaces/README.md", SPACES),
        ("orchestrator/README.md", [path.name for path in (ROOT / "orchestrator").glob("[!_]*.py")]),
        ("results/README.md", [path.name for path in (ROOT / "results").glob("[!_]*.py")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_readme_names_all_that_there_is(readme: str, names: Iterable[str]) -> None:
    text = (ROOT / readme).read_text()
    assert not [name for name in names if f"`{name}`" not in text]


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """In order, on one storage, with tiny settings; those that need photographs only where these are."""
    photographs = ROOT.parent / "shared" / "data" / "camvid"
    for command in commands():
        words = [str(tmp_path / word) if word in WRITTEN else word for word in shlex.split(command)[1:]]
        if words[0] == "submit":  # Needs a cluster: tests/integration/test_jobs.py.
            continue
        if "camvid" in command and words[0] == "sweep":
            if not photographs.is_dir():
                continue
            words += [
                "--set",
                "train.loop.steps=2",
                "--set",
                "train.height=32",
                "--set",
                "train.width=32",
                "--trials",
                "1",
            ]
        elif words[0] in ("run", "sweep"):
            words += TINY
        if words[0] in ("run", "confirm"):
            words += ["--seeds", "1"]
        if words[0] == "sweep" and "demo" in words:
            words += ["--trials", "2", "--seeds", "1", "--set", "train.loop.score_every_steps=1"]
        if words[0] == "resume":
            words += ["--trials", "3"]
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=ROOT,
            env={**os.environ, "NIGHTSHIFT_STORAGE": str(tmp_path / "runs")},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    assert (tmp_path / "runs" / "leaderboard" / "scores").is_dir()
