"""Values from anywhere reach a person's terminal as text, in any encoding."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.cli.console import Console, EscapedStream, escaped
from orchestrator.cli.progress import Progress
from orchestrator.cli.tables import show_frame
from orchestrator.execute import Event
from orchestrator.record import record
from orchestrator.trial import Outcome
from tests.orchestrator import fakes

HOSTILE = "\x1b]0;title\x07\x1b[2J[/] [bold]\u202e"
VISIBLE = r"\x1b]0;title\x07\x1b[2J[/] [bold]\u202e"
ROOT = Path(__file__).parents[2]


def test_control_characters_become_visible_and_text_stays():
    assert escaped(HOSTILE) == VISIBLE
    assert escaped("mIoU 48.1 – Zürich\n\ttab") == "mIoU 48.1 – Zürich\n\ttab"


def test_a_table_shows_hostile_values_names_and_titles_as_text():
    out = io.StringIO()
    frame = pd.DataFrame({"[/]": [HOSTILE], "mIoU": [0.5]})
    show_frame(frame, title=f"sweep={HOSTILE}", console=Console(file=out, width=200, markup=False))
    text = out.getvalue()
    assert "\x1b" not in text
    assert text.count(VISIBLE) == 2
    assert text.count("[/]") == 3  # The column's name as well.


def test_progress_shows_hostile_values_as_text(tmp_path):
    out = io.StringIO()
    trial = fakes.trial(tmp_path)
    console = Console(file=out, width=200, markup=False, force_terminal=True)
    with Progress(1, verbose=True, console=console) as progress:
        progress.event(trial, Event("warning", HOSTILE, HOSTILE))
        progress._live.refresh()  # The live table of a terminal.
    assert "\x1b]0" not in out.getvalue()
    assert VISIBLE in out.getvalue()


def test_a_stream_escapes_what_any_verb_writes():
    out = io.StringIO()
    stream = EscapedStream(out)
    stream.write(HOSTILE)
    stream.writelines([HOSTILE])
    print(HOSTILE, end="", file=stream)
    assert out.getvalue() == 3 * VISIBLE


def test_an_error_shows_hostile_names_as_text(nightshift):
    done = nightshift("show", HOSTILE)
    assert done.code == 2
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err


def test_csv_keeps_every_character(nightshift, tmp_path):
    failure = Outcome("failed", failure_class="bug", message=HOSTILE)
    record(fakes.trial(tmp_path), failure, sweep="x", attempt=0)
    table = nightshift("leaderboard", "--rows", "--storage", tmp_path)
    assert (table.code, "\x1b" in table.out) == (0, False)
    csv = nightshift("leaderboard", "--rows", "--csv", "--storage", tmp_path)
    assert HOSTILE in set(pd.read_csv(io.StringIO(csv.out))["message"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", [["leaderboard", "--published"], ["list"], ["--help"], ["sweep", "--help"]])
def test_output_that_is_not_utf8_is_still_written(words, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)
