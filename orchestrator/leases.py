"""Single flight: of all who want to make one artifact, one works and the others wait.

The lease is a file that is created if absent and whose content its holder keeps changing. It is dead when its process
on this host is gone, or when its content has stood still for ``ttl_seconds`` of the *observer's* clock, so hosts need
no equal clocks. It only saves work: that an artifact is right rests on its publication, where the first wins.
"""

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired

import psutil
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from orchestrator.exclusive import NO_HARD_LINKS

BEAT_SECONDS = 2.0
TTL_SECONDS = 30.0
FIRST_REMINDER_SECONDS = 60.0
"""Who waits says so again after so long, and then whenever the wait has doubled."""
BURIAL_SECONDS = 0.5
"""How long the removal of a dead lease may take whoever began it."""


class LeaseRecord(TypedDict):
    """Who holds a lease."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]

    token: str
    host: str
    pid: int
    beats: NotRequired[int]
    started: NotRequired[float]
    """When its process began, in seconds since the epoch."""


LEASE: TypeAdapter[Any] = TypeAdapter(LeaseRecord)


class LeaseLost(RuntimeError):
    """Somebody else took the lease over: this process stood still for longer than the time to live."""


class Lease:
    """A held lease; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = uuid.uuid4().hex
        self._beats = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def try_acquire(self) -> bool:
        """Create the lease if nobody holds it."""
        aside = self._aside()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(self._content())
            self._create(aside)
        except (FileExistsError, FileNotFoundError):  # Held; or its last holder is removing the folder right now.
            return False
        finally:
            aside.unlink(missing_ok=True)
        self._thread.start()
        return True

    def _create(self, aside: Path) -> None:
        """Link the whole lease to its name; where links are refused, take the name first and fill it by a rename.

        Between the two the lease is an empty file; where its holder dies there, it stands still and is taken over.
        """
        try:
            os.link(aside, self.path)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            aside.replace(self.path)

    def is_held(self) -> bool:
        """Whether the file still is ours."""
        record = read_lease(self.path)
        return record is not None and record["token"] == self.token

    def require_held(self) -> None:
        """Raise ``LeaseLost`` where it is not."""
        if not self.is_held():
            raise LeaseLost(f"the lease {self.path} was taken over by another process")

    def release(self) -> None:
        """Stop the heartbeat and remove the file, if it is ours."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.is_held():
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # A full disk, a stalled share, a folder being tidied: the next may do.
                if not self.is_held():
                    return
                self._beats += 1
                aside = self._aside()
                aside.write_text(self._content())
                aside.replace(self.path)

    def _aside(self) -> Path:
        return self.path.with_name(f".{self.token}.lease-aside")

    def _content(self) -> str:
        record = {"token": self.token, "host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        return json.dumps({**record, "started": psutil.Process().create_time()})


def read_lease(path: Path) -> dict[str, Any] | None:
    """The record of who holds the lease; ``None`` when nobody does, or the file holds no such record."""
    return _parse(_text(path))


def _text(path: Path) -> bytes | None:
    """The lease as it stands; ``None`` where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse(text: bytes | None) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = LEASE.validate_json(text or b"")
    except ValidationError:
        return None
    return record


def acquire(
    path: Path,
    *,
    unless: Callable[[], bool],
    waiting: Callable[[str], None],
    ttl_seconds: float = TTL_SECONDS,
    poll_seconds: float = 0.2,
) -> Lease | None:
    """Wait for the lease, or until ``unless()`` says that the work is done; then ``None``.

    ``waiting`` is told for whom it waits: at once, then at intervals that double.
    """
    lease = Lease(path)
    seen: bytes | None = None
    since = time.monotonic()
    began = time.monotonic()
    tell_after = 0.0
    while True:
        if lease.try_acquire():
            return lease
        text = _text(path)
        record = _parse(text)
        if text != seen:
            seen, since = text, time.monotonic()
        is_dead = record is not None and is_dead_here(record)
        if text is not None and (is_dead or time.monotonic() - since > ttl_seconds):
            _bury(path, text)
            continue
        if unless():
            return None
        waited = time.monotonic() - began
        if record is not None and waited >= tell_after:
            waiting(f"process {record['pid']} on {record['host']}" + (f", {waited:.0f} s so far" if tell_after else ""))
            tell_after = max(FIRST_REMINDER_SECONDS, 2 * tell_after)
        time.sleep(poll_seconds)


def take(path: Path) -> Lease | None:
    """The lease, unless its holder is alive: at once for a process of this host, else once the content has moved."""
    return acquire(path, unless=_signs_of_life(path), waiting=lambda who: None)


def is_held(path: Path) -> bool:
    """Whether ``take`` would refuse the lease: a holder on another host is watched until it moves or is dead."""
    shows_life, since = _signs_of_life(path), time.monotonic()
    while (record := read_lease(path)) is not None and not is_dead_here(record):
        if shows_life():
            return True
        if time.monotonic() - since > TTL_SECONDS:
            return False
        time.sleep(0.2)
    return False


def _signs_of_life(path: Path) -> Callable[[], bool]:
    """Tell whether the holder lives: at once for a process of this host, else once the content has moved."""
    holder = read_lease(path)

    def is_alive() -> bool:
        now = read_lease(path)
        moved = now is not None and now != holder
        return moved or (now is not None and now["host"] == socket.gethostname() and not is_dead_here(now))

    return is_alive


def remove_if_dead(path: Path) -> bool:
    """Remove the lease of a process of this host that is gone; whether it was."""
    text = _text(path)
    if text is None:
        return True
    record = _parse(text)
    if record is None or not is_dead_here(record):
        return False
    _bury(path, text)
    return True


def is_dead_here(record: dict[str, Any]) -> bool:
    """Whether the holder was a process of this host that is gone; a later process of the same number is another."""
    if record["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(record["pid"])
        started, is_zombie = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    return is_zombie or ("started" in record and abs(started - record["started"]) > 1)


def _bury(path: Path, text: bytes) -> None:
    """Remove a dead lease that holds ``text``; of several observers, the one who makes its grave does."""
    grave = _grave(path, text)
    try:
        os.close(os.open(grave, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileNotFoundError:  # The folder itself is gone.
        return
    except FileExistsError:
        time.sleep(BURIAL_SECONDS)
        if _text(path) == text:  # Whoever dug the grave was killed beside it.
            grave.unlink(missing_ok=True)
        return
    if _text(path) == text:
        path.unlink(missing_ok=True)
    grave.unlink(missing_ok=True)


def _grave(path: Path, text: bytes) -> Path:
    return path.with_name(f".{hashlib.sha256(text).hexdigest()[:32]}.lease-grave")
