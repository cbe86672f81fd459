"""The records of a storage, one model each: what is read from a file has the shape that its readers rely on.

Plain dictionaries that pydantic checks. Fields that older versions did not write are ``NotRequired``.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from trainers.errors import UserError

SCHEMA_VERSION = 1
"""Of ledgers, requests and manifests; readers refuse larger ones."""

SEAL = "sha256"
"""Field of a record with the hash of all others, so that a changed byte is told from another value."""

STRICT = ConfigDict(strict=True)


class NewerSchema(UserError):
    """A record of a newer version of this program; never damaged, never to be moved away."""


class Damaged(UserError):
    """A record or artifact whose bytes are not what was written, or do not have its shape."""


class Spec(TypedDict):
    """``spec.json``: what a sweep is."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    schema_version: NotRequired[int]
    experiment: str
    arm: NotRequired[str]


class Asked(TypedDict):
    """``asked/``: a configuration that the sampler suggested."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    params: dict[str, Any]
    base: str
    distributions: NotRequired[dict[str, dict[str, Any]]]


class Attempt(TypedDict):
    """``attempts/``: a trial that started."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    varied: dict[str, Any]
    seed: int
    keys: NotRequired[list[str]]


class Stage(TypedDict):
    """One stage of an outcome."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    name: str
    key: str
    hit: bool
    seconds: float


class Ended(TypedDict):
    """``outcomes/``: the fields of ``trial.Outcome``."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    status: Literal["finished", "pruned", "diverged", "failed"]
    stages: NotRequired[list[Stage]]
    scores: NotRequired[dict[str, dict[str, Any]]]
    training: NotRequired[dict[str, Any]]
    objectives: NotRequired[dict[str, float | None]]
    hardware: NotRequired[str | None]
    failure_class: NotRequired[str | None]
    message: NotRequired[str | None]
    trace: NotRequired[str | None]


class Loss(TypedDict):
    """``losses/``: why the process of an attempt died."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    failure_class: str


class Rung(TypedDict):
    """``rungs/``: a verdict of the scheduler."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    config: str
    rung: int
    score: float
    keep: bool
    base: str


class Shared(TypedDict):
    """``shared/``: keys of the stages before the search."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    keys: list[str]


class Fingerprint(TypedDict):
    """``fingerprints/``: that of a split, remembered."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    split: str
    fingerprint: str


class CheckedSplit(TypedDict):
    """``fingerprints/checked/``: how many files of a split, from the first on, have been decoded without a problem."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    split: str
    checked: int


class Pin(TypedDict):
    """``pinned/``: who made an artifact by itself."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    method: str
    command: str


class Manifest(TypedDict):
    """``manifest.json`` of an artifact."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    schema_version: int
    method: str
    key: str
    content: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    created_utc: str
    files: dict[str, str]


class PicturesEntry(TypedDict):
    """One picture of ``pictures.json``."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    file: str
    title: str
    kind: str
    caption: str


class Score(TypedDict):
    """What every row needs of the result of an evaluation."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    step: int
    class_set: str
    images: int
    height: int
    width: int
    miou: float | None
    miou_zeros: float | None
    pixel_accuracy: float | None
    class_accuracy: float | None
    fwiou: float | None
    iou: dict[str, float | None]
    confusion: list[int]


Scores = Annotated[dict[str, Score], Field(min_length=1)]
"""``scores/``: evaluation stage → its result."""

Software = Annotated[dict[str, str], Field(min_length=1)]
"""``software/``: package → version."""

KINDS: Mapping[str, Any] = {
    "asked": Asked, "attempts": Attempt, "outcomes": Ended, "losses": Loss, "scores": Scores, "rungs": Rung,
    "shared": Shared, "software": Software,
}  # fmt: skip
"""Folder of a ledger → what its records are."""


def sealed(content: Any) -> Any:
    """``content`` with its seal, where it is a mapping."""
    return {**content, SEAL: _hash(content)} if isinstance(content, Mapping) else content


def read_record(path: Path, kind: Any, what: str) -> Any:
    """Read a record of ours: a ``kind`` of this module, without its seal.

    Raises:
        Damaged: it is not whole, or of another shape; names ``what`` it is. ``NewerSchema``: a newer version wrote it.
    """
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            _refuse_newer(content, path, what)
            seal = content.pop(SEAL, None)
            if seal is not None and seal != _hash(content):
                raise ValueError("its bytes are not those that were written")
        _adapter(kind).validate_python(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))
        told = f"{field}: {problem['msg']}" if field else problem["msg"]
        raise Damaged(f"{what} {path} is damaged ({told}); {CURE}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise Damaged(f"{what} {path} is damaged ({error}); {CURE}") from error
    return content


CURE = "`nightshift doctor` says what is lost with it, and `--repair` moves it away to go on without it"


def _refuse_newer(content: Mapping[str, Any], path: Path, what: str) -> None:
    version = content.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"{what} {path} has schema version {version}, and this version of nightshift knows {SCHEMA_VERSION}: "
            "upgrade nightshift, or use another --storage"
        )


def _hash(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
