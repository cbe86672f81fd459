"""The ledger of a sweep: what was asked, attempted and finished, as immutable records on the storage.

Layout below ``sweeps/<name>/``: ``spec.json``; ``asked/c0000.json`` one per configuration;
``attempts/<trial>.000.json`` one per attempt, then ``outcomes/<trial>.000.json``, or ``losses/…`` where its process
died; ``scores/…`` the evaluations' results of an outcome, which only a lost row needs; ``rungs/`` the verdicts of the
scheduler; ``shared/`` and ``software/`` the keys of the stages before the search, and what ran it;
``failures/<trial>.000.txt`` with the trace of a bug. Every record is written before it is acted on. Tune's and Optuna's
own state is rebuilt from here on every start.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.files import publish_json
from orchestrator.records import KINDS, SCHEMA_VERSION, Spec, read_record
from trainers.errors import UserError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

_OF_ATTEMPT = re.compile(r"[^.].*\.\d{3,}\.json")

NAMES = {
    **dict.fromkeys(("attempts", "outcomes", "losses", "scores"), _OF_ATTEMPT),
    "asked": re.compile(r"c\d{4,}\.json"),
    "rungs": re.compile(r"[^.].*\.\d{8,}\.json"),
    "shared": re.compile(r"[A-Za-z0-9_-]+\.json"),
    "software": re.compile(r"\d{4,}\.json"),
}
"""Kind of record → the names of its files."""


def sweep_names(storage: Path) -> list[str]:
    """Sweeps and runs of a storage: every folder in ``sweeps/`` that could have been made by one."""
    folders = sorted((storage / "sweeps").glob("*"))
    return [folder.name for folder in folders if folder.is_dir() and NAME.fullmatch(folder.name)]


class Ledger:
    """Records of one sweep."""

    def __init__(self, storage: Path, name: str) -> None:
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a sweep: a letter first, then letters, digits, '_', '.' or '-', 64 at most"
            )
        self.name = name
        self.root = storage / "sweeps" / name

    def open(self, spec: Mapping[str, Any]) -> bool:
        """Write what the sweep is, or check that it still is that.

        Returns whether it is new.

        Raises:
            UserError: a sweep of this name exists with another specification.
        """
        if publish_json(self.root / "spec.json", {"schema_version": SCHEMA_VERSION, **spec}):
            return True
        self.require_same(spec)
        return False

    def require_same(self, spec: Mapping[str, Any]) -> None:
        """Check that the sweep, where one of this name exists, is that of ``spec``.

        Raises:
            UserError: it has another specification.
        """
        if not (self.root / "spec.json").is_file():
            return
        known = self._spec()
        changed = sorted(key for key in {*known, *spec} - {"schema_version"} if known.get(key) != spec.get(key))
        if changed:
            key = changed[0]
            raise UserError(
                f"the sweep {self.name} exists with other settings: {key} was {_short(known.get(key))} and is now "
                f"{_short(spec.get(key))}; give this one another --name"
            )

    def _spec(self) -> dict[str, Any]:
        """What the sweep is; nothing where no record says so (``nightshift run`` writes none)."""
        path = self.root / "spec.json"
        spec: dict[str, Any] = read_record(path, Spec, "the specification of the sweep") if path.is_file() else {}
        return spec

    def read(self, kind: str) -> dict[str, Any]:
        """All records of a kind by name, in the order of their names; c10000 follows c9999.

        Raises:
            UserError: one is damaged. ``NewerSchema``: a newer version wrote this ledger.
        """
        self._spec()
        what = f"the record {kind} of the sweep {self.name}"
        return {name: read_record(path, KINDS[kind], what) for name, path in self._records(kind)}

    def names(self, kind: str) -> list[str]:
        """The names of all records of a kind; none is read."""
        return [name for name, _ in self._records(kind)]

    def _records(self, kind: str) -> list[tuple[str, Path]]:
        """(name, file) of the records of a kind; hidden files, copies and whatever else lies there are none."""
        folder, pattern = self.root / kind, NAMES[kind]
        paths = [path for path in folder.iterdir() if pattern.fullmatch(path.name)] if folder.is_dir() else []
        return [(path.stem, path) for path in sorted(paths, key=lambda path: (len(path.name), path.name))]

    def write(self, kind: str, name: str, record: Mapping[str, Any]) -> bool:
        """Add a record; ``False`` where one of this name exists."""
        return publish_json(self.root / kind / f"{name}.json", dict(record))

    def begin(self, trial: str, record: Mapping[str, Any]) -> int:
        """Write down that an attempt at a trial starts; its number, from 0."""
        attempt = 0
        while not self.write("attempts", attempt_name(trial, attempt), record):
            attempt += 1
        return attempt

    def outcomes(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """Trial → (attempt, outcome) of the last attempt that ended."""
        found = {}
        for name, record in self.read("outcomes").items():
            trial, _, attempt = name.rpartition(".")
            found[trial] = (int(attempt), record)
        return found

    def finish(self, trial: str, attempt: int, outcome: Mapping[str, Any]) -> None:
        """Write down how an attempt ended."""
        name = attempt_name(trial, attempt)
        if outcome["scores"]:
            self.write("scores", name, outcome["scores"])
        self.write("outcomes", name, {**outcome, "scores": {}})

    def scores(self, trial: str, attempt: int) -> dict[str, Any]:
        """The results of the evaluations of an attempt that ended."""
        path = self.root / "scores" / f"{attempt_name(trial, attempt)}.json"
        if not path.is_file():
            raise UserError(
                f"{path} is missing, which a row of the leaderboard has to be made of; remove its namesake in "
                "outcomes/ and the trial is collected again from its artifacts"
            )
        scores: dict[str, Any] = read_record(path, KINDS["scores"], f"the record scores of the sweep {self.name}")
        return scores

    def open_keys(self) -> Iterator[str]:
        """Keys of the stages of every trial that has not ended well, and of the stages before the search."""
        ended = self.outcomes()
        done = {name: attempt for name, (attempt, one) in ended.items() if one["status"] in ("finished", "pruned")}
        for record in self.read("shared").values():
            yield from record["keys"]
        for name, record in self.read("attempts").items():
            trial, _, attempt = name.rpartition(".")
            if int(attempt) > done.get(trial, -1):
                yield from record.get("keys", [])

    def write_failure(self, trial: str, attempt: int, trace: str) -> Path:
        """Keep the trace of a bug; where."""
        path = self.root / "failures" / f"{attempt_name(trial, attempt)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace)
        return path


def attempt_name(trial: str, attempt: int) -> str:
    """The name of an attempt's records; names sort by attempt."""
    return f"{trial}.{attempt:03d}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
