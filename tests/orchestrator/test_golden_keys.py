"""The stage keys and configuration hashes of every experiment and preset, as they were on an earlier commit.

A key that moves throws away what users have computed, and hides published rows from their experiment. So a change that
means to move keys rewrites ``golden_keys.json`` (``python -m tests.orchestrator.test_golden_keys``), its diff shows
which stages moved, and the commit says why.
"""

import json
from pathlib import Path

import pytest

from orchestrator.experiments import EXPERIMENTS, build, presets
from orchestrator.graph import Seeds, config_hash, plan, plan_unread

GOLDEN = Path(__file__).with_name("golden_keys.json")
DIGITS = 12
"""Hexadecimal digits of a key that are kept: enough to tell any two apart."""


def current_keys(name: str, preset: str) -> dict[str, dict[str, str]]:
    """Stage → key and arm → configuration hash, for data whose fingerprint is its name, on one CPU."""
    experiment = build(name, preset)
    stages, arms = {}, {}
    for arm in experiment.arms.values():
        planned = plan(experiment, arm, seeds=Seeds(0, 0, "declared"), fingerprints=str)
        stages |= {stage: planned_stage.key[:DIGITS] for stage, planned_stage in planned.items()}
        unread = plan_unread(experiment, arm, fingerprints=str)
        arms[arm.name] = config_hash(experiment.name, arm.name, {**unread, **planned})
    return {"stages": dict(sorted(stages.items())), "arms": arms}


def all_keys() -> dict[str, dict[str, dict[str, str]]]:
    """``experiment/preset`` → its keys."""
    return {f"{name}/{preset}": current_keys(name, preset) for name in EXPERIMENTS for preset in presets(name)}


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in EXPERIMENTS for preset in presets(name)])
def test_keys_are_those_of_the_golden_file(name, preset):
    recorded = json.loads(GOLDEN.read_text()).get(f"{name}/{preset}")
    assert recorded is not None, f"{name}/{preset} is new: write the golden file anew"
    assert current_keys(name, preset) == recorded


def test_the_golden_file_names_no_experiment_that_is_gone():
    assert set(json.loads(GOLDEN.read_text())) == {
        f"{name}/{preset}" for name in EXPERIMENTS for preset in presets(name)
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(all_keys(), indent=1) + "\n")
