import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from results.schema import COLUMNS, CURVES, SCORES, check_rows

# Written out from the design, not from the code.
NAMES = """
schema_version, sweep, trial, arm, attempt, experiment, preset, method, config_hash, seed,
seed_scope, created_utc, params, varied, evaluation_set, scored_split, scored_fingerprint,
split_role, class_set, checkpoint, step,
selection_set, selection_metric, miou, miou_zeros, iiou, iiou_sizes, pixel_accuracy, class_accuracy, fwiou, iou.road,
iou.sidewalk, iou.building, iou.wall, iou.fence, iou.pole, iou.traffic_light, iou.traffic_sign,
iou.vegetation, iou.terrain, iou.sky, iou.person, iou.rider, iou.car, iou.truck, iou.bus, iou.train,
iou.motorcycle, iou.bicycle, confusion, images, image_height, image_width, label_height,
label_width, inference, source_miou,
source_fingerprint, target_infomax, target_fingerprint, unlabeled_images, unlabeled_ratio,
selection_threshold, selection_quantile, selection_quantiles, fid, fid_mean_term, fid_covariance_term,
fid_trace, kid, fid_features, fid_weights_hash, psnr, ssim, seconds, seconds_saved, steps,
images_per_second, peak_memory_bytes, devices, stages, git_commit, git_diff_hash, versions, hardware, command,
status, failure_class, message
"""
INTEGERS = """schema_version attempt seed step images image_height image_width label_height label_width
unlabeled_images steps peak_memory_bytes devices"""
TEXTS = """sweep trial arm experiment preset method config_hash seed_scope params varied evaluation_set
scored_split scored_fingerprint iiou_sizes source_fingerprint target_fingerprint
split_role class_set checkpoint selection_set selection_metric selection_quantiles inference fid_features
fid_weights_hash git_commit git_diff_hash versions hardware command status failure_class message"""


def test_columns_are_those_of_the_design_in_its_order():
    assert SCORES.names == NAMES.replace("\n", " ").replace(" ", "").split(",")
    assert CURVES.names == ["sweep", "trial", "attempt", "stage", "step", "metric", "value"]


def test_types():
    special = {
        "created_utc": pa.timestamp("us", "UTC"),
        "confusion": pa.list_(pa.int64()),
        "stages": pa.list_(
            pa.struct({"name": pa.string(), "key": pa.string(), "hit": pa.bool_(), "seconds": pa.float64()})
        ),
    }
    expected = dict.fromkeys(INTEGERS.split(), pa.int64()) | dict.fromkeys(TEXTS.split(), pa.string()) | special
    for field in SCORES:
        assert field.type == expected.get(field.name, pa.float64()), field.name
    text, number = pa.string(), pa.int64()
    assert CURVES.types == [text, text, number, text, number, text, pa.float64()]


def test_class_columns_are_the_train_ids_of_the_trainers():
    from results.schema import CLASS_NAMES
    from trainers.data import label_spaces

    assert CLASS_NAMES == label_spaces.CLASS_NAMES


def test_every_column_says_what_it_means():
    assert [column.name for column in COLUMNS if not column.meaning] == []


def test_good_rows_pass(make_row, make_failure):
    full = make_row(
        confusion=np.arange(361),
        stages=[{"name": "train", "key": "ab", "hit": False, "seconds": 1.5}],
        versions="{}",
        fid=np.float32(3.5),
        steps=np.int64(200),
        fwiou=1.0000000000000002,
        kid=-0.001,
        schema_version=5,
    )
    check_rows([full, make_failure(), make_failure("pruned")], SCORES)


BAD = [
    ("mIoU", 0.5, "not in the schema"),
    ("miou", float("nan"), "finite"),
    ("miou", float("inf"), "finite"),
    ("miou", np.float64("nan"), "finite"),
    ("seconds", float("nan"), "finite"),
    ("miou", 41.2, r"\[0, 1\]"),
    ("iou.sky", -0.1, r"\[0, 1\]"),
    ("selection_quantile", 1.01, r"\[0, 1\]"),
    ("miou", "0.5", "finite number"),
    ("miou", True, "finite number"),
    ("seed", 0.0, "integer"),
    ("seed", True, "integer"),
    ("seed", 2**63, "integer"),
    ("arm", 3, "text"),
    ("status", "done", "one of"),
    ("checkpoint", "last", "one of"),
    ("schema_version", 6, "one of"),
    ("trial", "0123", "start with a letter"),
    ("sweep", "001", "start with a letter"),
    ("sweep", "a/b", "start with a letter"),
    ("created_utc", datetime(2026, 1, 1), "time zone"),
    ("params", {"a": 1}, "JSON"),
    ("params", "[1]", "JSON"),
    ("varied", json.dumps({"a": float("nan")}), "JSON"),
    ("confusion", [1, 2.5], "integers"),
    ("confusion", 3, "integers"),
    ("confusion", "12", "integers"),
    ("stages", "ab", "list of"),
    ("stages", [{"name": "train"}], "list of"),
    ("stages", [{"name": "train", "key": "ab", "hit": False, "seconds": float("nan")}], "list of"),
]


@pytest.mark.parametrize(("column", "value", "rule"), BAD)
def test_a_bad_value_is_refused_by_column_and_value(make_row, column, value, rule):
    with pytest.raises(ValueError, match=rule) as caught:
        check_rows([make_row(), make_row(**{column: value})], SCORES)
    message = str(caught.value)
    assert message.startswith("row 1: ")
    assert repr(column) in message
    assert repr(value) in message
    assert "\n" not in message


@pytest.mark.parametrize("column", ["sweep", "trial", "config_hash", "seed", "created_utc", "status"])
def test_required_columns(make_row, column):
    for row in (make_row(**{column: None}), {name: v for name, v in make_row().items() if name != column}):
        with pytest.raises(ValueError, match=f"{column!r} is required"):
            check_rows([row], SCORES)


def test_a_finished_row_names_what_was_scored(make_row):
    with pytest.raises(ValueError, match="'evaluation_set' is required"):
        check_rows([make_row(evaluation_set=None)], SCORES)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        check_rows([], SCORES)


def test_curves_are_checked_too():
    row = {
        "sweep": "s",
        "trial": "t1",
        "attempt": 1,
        "stage": "train",
        "step": 5,
        "metric": "loss",
        "value": None,
    }
    check_rows([row], CURVES)
    with pytest.raises(ValueError, match="'value' must be a finite"):
        check_rows([row | {"value": float("nan")}], CURVES)
    with pytest.raises(ValueError, match=r"'miou' .* not in the schema"):
        check_rows([row | {"miou": 0.5}], CURVES)
