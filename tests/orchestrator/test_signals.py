"""What a signal does in this process; whole commands are in ``tests/integration/test_signals.py``."""

import io
import os
import signal

import pytest

from orchestrator import signals
from orchestrator.cli.console import Console
from orchestrator.cli.progress import Progress
from orchestrator.signals import Interrupted, interruptible, stopping_on_signals


@pytest.fixture(autouse=True)
def no_end(monkeypatch):
    """Ends of the process, as an exception with the signal's number."""

    def end(number):
        raise RuntimeError(f"ended by {number}")

    monkeypatch.setattr(signals, "end_at_once", end)


def handlers():
    return [signal.getsignal(number) for number in signals.SIGNALS]


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_the_first_signal_asks_and_the_second_ends(number, capfd):
    before, told = handlers(), []
    with stopping_on_signals(lambda: told.append(1)) as stopping:
        assert not stopping
        os.kill(os.getpid(), number)
        assert (stopping.number, told) == (number, [1])
        assert signal.Signals(number).name in capfd.readouterr().err
        with pytest.raises(RuntimeError, match=f"ended by {int(number)}"):
            os.kill(os.getpid(), number)
    assert handlers() == before


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_outside_of_trials_a_signal_interrupts_with_its_exit_code(number):
    with pytest.raises(Interrupted) as stop, interruptible():
        os.kill(os.getpid(), number)
    assert stop.value.code == 128 + number


def test_what_is_ignored_at_the_start_stays_ignored():
    """``nohup`` starts a command so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), stopping_on_signals() as stopping:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopping
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_inner_block_decides():
    with interruptible():
        with stopping_on_signals() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)


class Closed(io.StringIO):
    """A stream that cannot be written to any more."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_progress_into_a_closed_pipe_asks_to_stop():
    with (
        stopping_on_signals() as stopping,
        Progress(1, verbose=True, console=Console(file=Closed(BrokenPipeError()))) as progress,
    ):
        progress.note("a line")
        progress.note("another")
        assert stopping.number == signal.SIGPIPE


def test_progress_into_a_closed_terminal_goes_on_unseen():
    with (
        stopping_on_signals() as stopping,
        Progress(1, verbose=True, console=Console(file=Closed(OSError(5, "gone")))) as progress,
    ):
        progress.note("a line")
        assert not stopping
