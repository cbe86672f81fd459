"""The columns of a leaderboard: names, types, units, and the check that every row passes first.

Scores lie in [0, 1]; every metric is float64; a value that does not exist is NULL, never NaN and never 0.
One explicit schema for all files is what lets any Parquet reader open the folder: a column that only
later files have is dropped silently by most of them.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 5
"""Raised when a column is added or changes its meaning; readers refuse files with a larger one."""

CLASS_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes in the order of their train ids; each has a column ``iou.<name>``."""

STATUSES = ("finished", "pruned", "diverged", "failed")
"""How a trial ended. Only ``finished`` rows are ranked."""

CHECKPOINTS = ("final", "best")
"""Which weights were scored: those of the last step, or the best by ``selection_metric``."""

ROUNDING = 1e-6
"""How far outside [0, 1] a score may lie by rounding; the writer clips it."""

SCORE = "in [0, 1]"
STAGE_FIELDS = {"name": pa.string(), "key": pa.string(), "hit": pa.bool_(), "seconds": pa.float64()}

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_TIME = pa.timestamp("us", tz="UTC")
_COUNTS = pa.list_(pa.field("element", _INT))
_STAGES = pa.list_(pa.field("element", pa.struct(list(STAGE_FIELDS.items()))))


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means, how values are checked and rows sorted by it."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    """``in [0, 1]`` marks a score, ``JSON`` a text that holds a JSON object; else s, px, bytes, …"""
    required: bool = False
    """Whether every row has it, also that of a failed trial."""
    higher_is_better: bool = False
    """Scores are; otherwise a smaller value (a distance, a cost) ranks and sorts first."""


COLUMNS = (
    Column("schema_version", _INT, "version of this table of columns", required=True),
    Column("sweep", _TEXT, "name of the sweep or run; starts with a letter", required=True),
    Column("trial", _TEXT, "`t` + 10 hex digits of SHA-256(arm, config, seed)", required=True),
    Column("arm", _TEXT, "named end of the experiment's graph", required=True),
    Column("attempt", _INT, "which attempt at the trial wrote the row; the highest counts", required=True),
    Column("experiment", _TEXT, "named graph of stages", required=True),
    Column("preset", _TEXT, "`real`, `toy_city`, `camvid` …"),
    Column("method", _TEXT, "method of the stage that was scored"),
    Column("config_hash", _TEXT, "names the configuration without its seed", required=True),
    Column("seed", _INT, "seed of the trial", required=True),
    Column("seed_scope", _TEXT, "which stages the seed varies; never compared across", required=True),
    Column("created_utc", _TIME, "when the row was written", "UTC", required=True),
    Column("params", _TEXT, "every field of the configuration", "JSON"),
    Column("varied", _TEXT, "the fields that the search varied", "JSON"),
    Column("evaluation_set", _TEXT, "what was scored, such as `day_val`; NULL if nothing was"),
    Column("scored_split", _TEXT, "its split as written; of translated images the one that they were made of"),
    Column("scored_fingerprint", _TEXT, "names its images and labels by content; NULL (schema 4 and older): unknown"),
    Column("split_role", _TEXT, "`select`, `report` or `held_out`"),
    Column("class_set", _TEXT, "which classes `miou` averages, such as `cityscapes19`"),
    Column("checkpoint", _TEXT, "`final` or `best`"),
    Column("step", _INT, "optimizer step of the checkpoint"),
    Column("selection_set", _TEXT, "what `best` was chosen on; several splits joined by ` + `"),
    Column("selection_metric", _TEXT, "what `best` was chosen by"),
    Column("miou", _FLOAT, "mean IoU of the classes of the class set with TP + FP + FN > 0", SCORE),
    Column("miou_zeros", _FLOAT, "mean IoU with classes that do not occur counted as 0", SCORE),
    Column("iiou", _FLOAT, "mean instance-level IoU of the classes with objects, where it was asked for", SCORE),
    Column("iiou_sizes", _TEXT, "mean sizes of objects behind `iiou`: `cityscapes` (published), `scored_images`"),
    Column("pixel_accuracy", _FLOAT, "right pixels / scored pixels", SCORE),
    Column("class_accuracy", _FLOAT, "mean recall of the classes that occur", SCORE),
    Column("fwiou", _FLOAT, "IoU weighted by class frequency", SCORE),
    *(Column(f"iou.{name}", _FLOAT, f"IoU of {name.replace('_', ' ')}", SCORE) for name in CLASS_NAMES),
    Column("confusion", _COUNTS, "19 × 19 confusion matrix, row by row, rows are the truth", "px"),
    Column("images", _INT, "images scored"),
    Column("image_height", _INT, "height of the network's input", "px"),
    Column("image_width", _INT, "width of the network's input", "px"),
    Column("label_height", _INT, "height of the label maps that were scored; NULL if they differ", "px"),
    Column("label_width", _INT, "their width; NULL if they differ", "px"),
    Column("inference", _TEXT, "how an image was predicted: whole, sliding, flips, scales"),
    Column("source_miou", _FLOAT, "mean IoU on source validation images", SCORE),
    Column("source_fingerprint", _TEXT, "names what `source_miou` was scored on, and at which size; NULL: unknown"),
    Column("target_infomax", _FLOAT, "(H(mean p) − mean H(p)) / ln C on unlabeled target images", SCORE),
    Column("target_fingerprint", _TEXT, "the same for `target_infomax`"),
    Column("unlabeled_images", _INT, "unlabeled images trained on"),
    Column("unlabeled_ratio", _FLOAT, "unlabeled images per labeled image"),
    Column("selection_threshold", _FLOAT, "threshold of the image selection, in the scorer's own unit"),
    Column("selection_quantile", _FLOAT, "the same as a quantile of the scores", SCORE),
    Column("selection_quantiles", _TEXT, "the scores of the whole pool, by percent: `0`, `10`, … `100`", "JSON"),
    Column("fid", _FLOAT, "Fréchet distance of the translated, or of the selected images to the reference"),
    Column("fid_mean_term", _FLOAT, "its part from the means"),
    Column("fid_covariance_term", _FLOAT, "its part from the covariances"),
    Column("fid_trace", _FLOAT, "trace of the reference's covariance, where images were selected"),
    Column("kid", _FLOAT, "kernel distance of the same features (unbiased: may be below 0)"),
    Column("fid_features", _TEXT, "network and layer of the features"),
    Column("fid_weights_hash", _TEXT, "SHA-256 of that network's weights"),
    Column("psnr", _FLOAT, "peak signal-to-noise ratio to the reference images, mean", "dB", higher_is_better=True),
    Column("ssim", _FLOAT, "structural similarity to them, mean, in [-1, 1]", higher_is_better=True),
    Column("seconds", _FLOAT, "wall-clock time of the trial", "s"),
    Column("seconds_saved", _FLOAT, "what the stages that were hits had cost", "s", higher_is_better=True),
    Column("steps", _INT, "optimizer steps of all the trial's stages"),
    Column("images_per_second", _FLOAT, "training throughput of the last training stage", "1/s", higher_is_better=True),
    Column("peak_memory_bytes", _INT, "largest memory of one worker", "bytes"),
    Column("devices", _INT, "devices that the trial used"),
    Column("stages", _STAGES, "name, key, hit and seconds of every stage"),
    Column("git_commit", _TEXT, "commit of the code"),
    Column("git_diff_hash", _TEXT, "SHA-256 of uncommitted changes; NULL if there were none"),
    Column("versions", _TEXT, "versions of the packages in use", "JSON"),
    Column("hardware", _TEXT, "processor or accelerator"),
    Column("command", _TEXT, "the command that made the row"),
    Column("status", _TEXT, " / ".join(f"`{status}`" for status in STATUSES), required=True),
    Column("failure_class", _TEXT, "kind of failure of a trial that did not finish"),
    Column("message", _TEXT, "its message, one line"),
)
"""Every column of ``leaderboard/scores``, in order."""

CURVE_COLUMNS = (
    Column("sweep", _TEXT, "name of the sweep or run", required=True),
    Column("trial", _TEXT, "as in the scores", required=True),
    Column("attempt", _INT, "as in the scores", required=True),
    Column("stage", _TEXT, "name of the stage that reported", required=True),
    Column("step", _INT, "optimizer step", required=True),
    Column("metric", _TEXT, "name of the reported number", required=True),
    Column("value", _FLOAT, "the number; NULL if it was not finite"),
)
"""Every column of ``leaderboard/curves``, in order."""

SCORES: pa.Schema = pa.schema([(column.name, column.type) for column in COLUMNS])
CURVES: pa.Schema = pa.schema([(column.name, column.type) for column in CURVE_COLUMNS])

SCORE_NAMES = tuple(column.name for column in COLUMNS if column.unit == SCORE)
"""The columns whose values lie in [0, 1]."""

_COLUMN = {column.name: column for column in (*CURVE_COLUMNS, *COLUMNS)}
_ALLOWED = {"status": STATUSES, "checkpoint": CHECKPOINTS, "schema_version": (SCHEMA_VERSION,)}
_IDENTIFIER = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)


def check_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Refuse rows that no reader should meet; ``schema`` is ``SCORES`` or ``CURVES``.

    Raises ValueError, naming row, column and value: an unknown column, a required one missing, a value of
    the wrong type, NaN or infinity, a score outside [0, 1], an unknown status or checkpoint, a sweep or
    trial that does not start with a letter (readers take ``001`` for a number), a time without a zone.
    """
    if not rows:
        raise ValueError("no rows to write")
    required = [name for name in schema.names if _COLUMN[name].required and name != "schema_version"]
    for number, row in enumerate(rows):
        try:
            unknown = [name for name in row if name not in schema.names]
            if unknown:
                raise ValueError(f"column {unknown[0]!r} (value {row[unknown[0]]!r}) is not in the schema")
            for name in _required(row, required):
                if row.get(name) is None:
                    raise ValueError(f"column {name!r} is required, got None")
            for name, value in row.items():
                if value is not None:
                    _check_value(_COLUMN[name], value)
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None


def _required(row: Mapping[str, Any], always: Iterable[str]) -> Iterable[str]:
    return (*always, "evaluation_set", "checkpoint") if row.get("status") == "finished" else always


def _check_value(column: Column, value: Any) -> None:
    described, is_valid = _VALID["JSON" if column.unit == "JSON" else str(column.type)]
    if not is_valid(value):
        raise ValueError(f"column {column.name!r} must be {described}, got {value!r}")
    if column.unit == SCORE and not -ROUNDING <= value <= 1 + ROUNDING:
        raise ValueError(f"column {column.name!r} must be in [0, 1], got {value!r}")
    if column.name in _ALLOWED and value not in _ALLOWED[column.name]:
        raise ValueError(f"column {column.name!r} must be one of {_ALLOWED[column.name]}, got {value!r}")
    if column.name in ("sweep", "trial") and not _IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"column {column.name!r} must start with a letter, then letters, digits, _, - or .: got {value!r}"
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and -(2**63) <= int(value) < 2**63


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: Any) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _is_json_object(value: Any) -> bool:
    """A text that holds a JSON object in which every number is finite (``NaN`` is not JSON)."""
    if not isinstance(value, str):
        return False
    try:
        return isinstance(json.loads(value, parse_constant=_refuse_constant), dict)
    except ValueError:
        return False


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _is_counts(value: Any) -> bool:
    return isinstance(value, Iterable) and all(map(_is_integer, value))


def _is_stages(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(stage, Mapping)
        and set(stage) == set(STAGE_FIELDS)
        and isinstance(stage["name"], str)
        and isinstance(stage["key"], str | None)
        and isinstance(stage["hit"], bool)
        and (stage["seconds"] is None or _is_finite(stage["seconds"]))
        for stage in value
    )


_VALID: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "JSON": ("the text of a JSON object without NaN", _is_json_object),
    str(_TEXT): ("a text", lambda value: isinstance(value, str)),
    str(_INT): ("a 64-bit integer", _is_integer),
    str(_FLOAT): ("a finite number (absent is None)", _is_finite),
    str(_TIME): ("a datetime with a time zone", _is_time),
    str(_COUNTS): (
        "a list of integers",
        _is_counts,
    ),
    str(_STAGES): (f"a list of {tuple(STAGE_FIELDS)}", _is_stages),
}
