"""Ctrl-C, SIGTERM, a closed terminal: the first asks whoever trains to save, the second ends the process at once."""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE_SECONDS = 60.0
"""How long a command that was asked to stop may take to save."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SHOW_CURSOR = b"\x1b[?25h"
"""A live table hides the cursor, and a process that ends at once never shows it again."""


class Interrupted(SystemExit):
    """A signal ended the command before its work was done: exit code 128 + ``number``."""

    def __init__(self, number: int, message: str = "") -> None:
        """``message``: what is open, and the command that continues."""
        super().__init__(128 + number)
        self.number, self.message = number, message

    def named(self, message: str) -> "Interrupted":
        """The same interruption with a ``message``."""
        return Interrupted(self.number, message)


class Stopping:
    """Tells whether a signal has asked to stop, and which."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def interrupted(self, message: str = "") -> Interrupted:
        """The interruption to raise once everything is saved."""
        return Interrupted(signal.SIGTERM if self.number is None else self.number, message)


_receivers: list[Callable[[int], None]] = []
"""What a signal is passed to: the innermost block decides."""


def receive(number: int, frame: FrameType | None = None) -> None:
    """Pass a signal to the innermost block that waits for one."""
    if _receivers:
        _receivers[-1](number)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, a signal raises ``Interrupted`` in the main thread; a second one ends the process.

    A signal that is ignored when the block begins stays ignored: ``nohup`` means it. Off the main thread nothing is
    installed.
    """
    raised: list[int] = []

    def stop(number: int) -> None:
        if raised:
            end_at_once(number)
        raised.append(number)
        raise Interrupted(number)

    with _installed(), _receiving(stop):
        yield


@contextlib.contextmanager
def stopping_on_signals(
    tell: Callable[[], None] = lambda: None, *, grace_seconds: float = GRACE_SECONDS
) -> Iterator[Stopping]:
    """Within the block, the first signal only sets the flag and calls ``tell``; a second one ends the process.

    What has not ended ``grace_seconds`` after the first signal is ended too, also where an exception that leaves the
    block does not reach the end of the process.
    """
    stopping = Stopping()
    timers: list[threading.Timer] = []

    def stop(number: int) -> None:
        if stopping:
            end_at_once(number)
        stopping.number = number
        say(f"{signal.Signals(number).name}: saving, {grace_seconds:.0f} s at most; once more ends at once")
        tell()
        timers.append(threading.Timer(grace_seconds, end_at_once, args=(number,)))
        timers[0].daemon = True
        timers[0].start()

    with _installed(), _receiving(stop):
        yield stopping
        for timer in timers:
            timer.cancel()


@contextlib.contextmanager
def inherited_hangups_ignored() -> Iterator[None]:
    """Let processes that start within the block ignore SIGHUP.

    A closed terminal sends it to the whole process group: Ray's processes would end before any trial has saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before or signal.SIG_DFL)


def end_at_once(number: int) -> None:
    """End this process and all that it started, without saving anything."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    if os.isatty(2):
        _write(SHOW_CURSOR)
    say("ended without saving; the same command continues from the last checkpoint")
    os._exit(128 + number)


def reader_is_gone(descriptor: int) -> bool:
    """Whether nobody reads any more what is written to a pipe, as after ``| head -1``."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_output() -> None:
    """Send what is still to be written to nowhere: Python flushes its buffers at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # A stream without a descriptor has no reader to lose.
            if reader_is_gone(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say(text: str) -> None:
    """Write one line to standard error; safe in a signal handler, whatever the main thread is writing."""
    _write(f"nightshift: {text}\n".encode())


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):  # The terminal may be what has gone.
        os.write(2, text)


@contextlib.contextmanager
def _receiving(stop: Callable[[int], None]) -> Iterator[None]:
    _receivers.append(stop)
    try:
        yield
    finally:
        _receivers.remove(stop)


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """Pass the signals to ``receive``. Again in every block: Ray's start installs a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, receive)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number] or signal.SIG_DFL)  # None: not installed from Python.
