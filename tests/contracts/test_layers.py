"""Who may import whom, and what an import may cost."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_dependence_points_one_way():
    command = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def loaded(module: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after ``import module``."""
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        (
            "trainers.registry",
            {"torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "orchestrator", "results"},
        ),
        ("trainers.segmentation.supervised_config", {"torch", "ray", "optuna", "pandas", "orchestrator"}),
        ("trainers.segmentation.supervised", {"ray", "optuna", "pandas", "pyarrow", "orchestrator", "results"}),
        ("trainers.segmentation.evaluate", {"ray", "optuna", "pandas", "pyarrow", "orchestrator", "results"}),
        ("search_spaces", {"torch", "ray", "pandas", "orchestrator"}),
        ("results.leaderboard", {"torch", "ray", "optuna", "trainers", "orchestrator"}),
        ("results.report.sections", {"torch", "ray", "optuna", "trainers", "orchestrator", "jinja2"}),
    ],
)
def test_an_import_brings_no_more_than_it_needs(module: str, banned: set[str]):
    found = loaded(module)
    assert module.partition(".")[0] in found
    assert not found & banned
