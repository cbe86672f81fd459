"""What reaches a person's terminal: streams and consoles that make control characters visible.

Values of rows, names of files and messages of errors come from anywhere. Written as they are, an escape sequence in
them could move the cursor, change the title or hide text, and ``[/]`` would be read as markup.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import rich.console
from rich.text import Text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of writing round."""


def escaped(text: str) -> str:
    r"""Make control characters visible: ``\x1b`` for an escape."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class EscapedStream:
    """A text stream that writes control characters visibly; everything else is the wrapped stream's."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` with its control characters made visible."""
        return self.stream.write(escaped(text))

    def writelines(self, lines: Any) -> None:
        """Write all ``lines``."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # Typer would write past us where the encoding is ASCII.
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Within the block, standard output and error pass on no control character, and replace what cannot be encoded."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # Where the locale's encoding lacks a character.
    streams: Any = [EscapedStream(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def write_data(text: str) -> None:
    """Write what another program reads, unchanged, to standard output; in a terminal as everything else."""
    stream = sys.stdout if sys.stdout.isatty() else _unwrapped(sys.stdout)
    stream.write(text)


class Console(rich.console.Console):
    """A console of Rich without markup whose texts cannot steer the terminal, and that raises on a closed pipe."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See Rich; strings in tables and titles come through here too."""
        return super().render_str(escaped(text), **options)

    def on_broken_pipe(self) -> None:
        """Raise the error that Rich is handling, where Rich would exit with code 1: our callers decide."""
        raise


def standard_error() -> Console:
    """The console of progress and notes; results go to standard output."""
    return _console(sys.stderr)


def standard_output() -> Console:
    """The console of results; lines are not broken at 80 columns where there is no terminal."""
    console = _console(sys.stdout)
    return console if console.is_terminal else _console(sys.stdout, width=200)


def _console(stream: Any, **options: Any) -> Console:
    # Rich writes escape sequences of its own, for colors: it gets the stream itself.
    return Console(file=_unwrapped(stream), highlight=False, emoji=False, markup=False, **options)


def _unwrapped(stream: Any) -> Any:
    return stream.stream if isinstance(stream, EscapedStream) else stream
