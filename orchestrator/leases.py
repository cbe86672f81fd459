"""Single flight: of all who want to make one artifact, one works and the others wait.

The lease is a file that is created if absent and whose content its holder keeps changing. It is dead when its process
on this host is gone, or when its content has stood still for ``ttl_seconds`` of the *observer's* clock, so hosts need
no equal clocks. It only saves work: that an artifact is right rests on its publication, where the first wins.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

BEAT_SECONDS = 2.0
TTL_SECONDS = 30.0
FIRST_REMINDER_SECONDS = 60.0
"""Who waits says so again after so long, and then whenever the wait has doubled."""
BURIAL_SECONDS = 0.5
"""How long the removal of a dead lease may take whoever began it."""


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
            os.link(aside, self.path)
        except (FileExistsError, FileNotFoundError):  # Held; or its last holder is removing the folder right now.
            return False
        finally:
            aside.unlink(missing_ok=True)
        self._thread.start()
        return True

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
    """The record of who holds the lease; ``None`` when nobody does or the file is being replaced."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
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
    seen: dict[str, Any] | None = None
    since = time.monotonic()
    began = time.monotonic()
    tell_after = 0.0
    while True:
        if lease.try_acquire():
            return lease
        record = read_lease(path)
        if record != seen:
            seen, since = record, time.monotonic()
        if record is not None and (is_dead_here(record) or time.monotonic() - since > ttl_seconds):
            _bury(path, record)
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
    record = read_lease(path)
    if record is None:
        return True
    if not is_dead_here(record):
        return False
    _bury(path, record)
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


def _bury(path: Path, record: dict[str, Any]) -> None:
    """Remove a dead lease; of several observers, the one who links its grave does."""
    grave = path.with_name(f".{record['token']}.lease-grave")
    try:
        os.link(path, grave)
    except FileNotFoundError:
        return
    except FileExistsError:
        time.sleep(BURIAL_SECONDS)
        if read_lease(path) == record:  # Whoever dug the grave was killed beside it.
            grave.unlink(missing_ok=True)
        return
    if read_lease(path) == record:
        path.unlink(missing_ok=True)
    grave.unlink(missing_ok=True)
