import json
from datetime import UTC, datetime, timedelta

import pytest

EPOCH = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def make_row():
    """A valid row of the scores; ``minutes`` shifts its creation, ``alpha`` is the varied field."""

    def make(minutes=0, alpha=0.5, **changes):
        row = {
            "sweep": "first", "trial": "t0123456789", "arm": "fda", "attempt": 1, "experiment": "demo",
            "preset": "toy_city", "config_hash": "00ab", "seed": 0, "seed_scope": "last",
            "created_utc": EPOCH + timedelta(minutes=minutes), "status": "finished",
            "params": json.dumps({"segmenter.loss.alpha": alpha, "segmenter.network": "fpn"}),
            "varied": json.dumps({"segmenter.loss.alpha": alpha}),
            "evaluation_set": "day_val", "split_role": "select", "checkpoint": "best", "miou": 0.5,
        }  # fmt: skip
        return row | changes

    return make


@pytest.fixture
def make_failure(make_row):
    def make(status="failed", **changes):
        empty = {"evaluation_set": None, "split_role": None, "checkpoint": None, "miou": None}
        return make_row(**{"status": status, "message": "out of memory"} | empty | changes)

    return make
