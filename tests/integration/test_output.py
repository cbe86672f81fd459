"""What twenty trials say where there is no terminal."""

import re
from collections import Counter

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TRIALS = 20
CITY = "city.images={day: {train: 4, val: 2, test: 2}, night: {train: 2, val: 2, test: 2}}"


@pytest.fixture(scope="module")
def said(nightshift, tmp_path_factory):
    """Everything that a sweep of twenty trials of one step writes: standard output, standard error."""
    fields = (CITY, "city.height=32", "city.width=64", "train.height=32", "train.width=64", "train.loop.steps=1")
    words = [word for field in fields for word in ("--set", field)]
    storage = tmp_path_factory.mktemp("storage")
    sweep = nightshift.start("sweep", "demo", "--trials", TRIALS, "--sampler", "random", *words, "--storage", storage)
    assert sweep.wait(900) == 0, sweep.err.read_text()
    return sweep.out.read_text(), sweep.err.read_text()


@pytest.mark.timeout(1000)
def test_twenty_trials_say_no_more_than_two_lines_each(said):
    out, err = (text.splitlines() for text in said)
    assert sum(f"  {TRIALS}/{TRIALS}  finished" in line for line in err) == 1
    assert f"{6 * TRIALS} rows of {TRIALS} trials" in out[-1]
    assert "the best 10 of 20 configurations" in out[-2]
    assert len(out) + len(err) <= 2 * TRIALS, "\n".join(out + err)


def test_no_warning_comes_twice(said):
    """Two lines that differ in numbers, times and names of trials alone are the same warning."""
    lines = [line for text in said for line in text.splitlines()]
    told = [
        line for line in lines if not re.search(r"\d+/\d+  finished  ", line) and "demo         supervised" not in line
    ]
    shapes = Counter(re.sub(r"\b(t|c|0x)?[0-9a-f]*\d[0-9a-f]*\b", "#", line).strip() for line in told if line.strip())
    assert len(told) < len(lines) - TRIALS, "the pattern of a trial's line matches nothing"
    assert {shape: count for shape, count in shapes.items() if count > 1} == {}
    assert not re.search(r"Traceback|\(raylet\)|\(pid=", "\n".join(lines))
