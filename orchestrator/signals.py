"""SIGTERM asks to stop: whoever trains saves at the next report; after a grace time the process ends anyway."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

GRACE_SECONDS = 60.0


class Stopping:
    """Whether a signal has asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextlib.contextmanager
def stopping_on_sigterm(
    tell: Callable[[], None] = lambda: None, *, grace_seconds: float = GRACE_SECONDS
) -> Iterator[Stopping]:
    """Within the block SIGTERM only sets the flag and calls ``tell``; off the main thread nothing is installed."""
    stopping = Stopping()

    def stop(number: int, frame: object) -> None:
        stopping.asked = True
        tell()
        timer = threading.Timer(grace_seconds, os._exit, args=(128 + number,))
        timer.daemon = True
        timer.start()

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)
