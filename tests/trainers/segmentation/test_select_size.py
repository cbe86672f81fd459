"""Images may be scored at another size than they are trained at."""

import json
from pathlib import Path

import pytest

from tests.contracts.test_methods import run
from trainers.segmentation.trained import read_description


def test_checkpoints_are_scored_and_predictions_made_at_the_size_of_selection(toy_city: Path, tmp_path: Path):
    sources = {"toy_city": toy_city}
    own = run("supervised", sources, tmp_path / "own", select_height=64, select_width=96)
    run("supervised", sources, tmp_path / "plain")
    trained = read_description(tmp_path / "own" / "output")
    assert (trained.height, trained.width) == (64, 96)
    found = {}
    for name in ("own", "plain"):
        segmenter = {"toy_city": toy_city, "segmenter": tmp_path / name / "output"}
        changes = {"split": "toy_city/day_val", "checkpoint": "final"}
        found[name] = run("evaluation", segmenter, tmp_path / f"{name}_evaluated", **changes).result["miou"]
    last = [value for _, metric, value in json.loads(own.files["curves.json"]) if metric == "selection"][-1]
    assert last == pytest.approx(found["own"], abs=1e-6)
    assert found["own"] != found["plain"]
