import io

from rich.console import Console

from orchestrator.cli.progress import Progress, describe
from orchestrator.execute import Event
from orchestrator.trial import Outcome
from tests.orchestrator import fakes


def lines(told, *, verbose):
    out = io.StringIO()
    with Progress(2, verbose=verbose, console=Console(file=out, width=200)) as progress:
        told(progress)
    return [line.split(None, 2)[1:] for line in out.getvalue().splitlines()]


def test_a_sweep_without_a_terminal_writes_one_line_a_trial(tmp_path):
    trial = fakes.trial(tmp_path, varied={"train.loss.alpha": 0.25})

    def told(progress):
        for event in (
            Event("start", "train"),
            Event("progress", "train", metrics={"step": 1, "steps": 2, "loss": 2.0}),
        ):
            progress.event(trial, event)
        progress.event(trial, Event("done", "train", "1.0 s"))
        progress.ended(trial, fakes.finished(0.5, stages=[{"hit": True}, {"hit": False}]))
        progress.ended(trial, Outcome("failed", failure_class="bug", message="RuntimeError: no"))

    (first, second) = lines(told, verbose=False)
    assert first == [trial.id, "1/2  finished  alpha=0.25 seed=0  source_miou 50.0  1 of 2 stages were hits"]
    assert second == [trial.id, "2/2  failed  alpha=0.25 seed=0  bug: RuntimeError: no"]


def test_warnings_who_waits_and_what_was_damaged_are_always_told(tmp_path):
    trial = fakes.trial(tmp_path)

    def told(progress):
        for kind in ("warning", "waiting", "damaged", "lost", "hit"):
            progress.event(trial, Event(kind, "train", f"about {kind}"))

    assert [text for _, text in lines(told, verbose=False)] == [
        f"train: {kind} about {kind}" for kind in ("warning", "waiting", "damaged", "lost")
    ]
    assert len(lines(told, verbose=True)) == 5


def test_the_name_of_a_stage_is_no_emoji(tmp_path):
    trial = fakes.trial(tmp_path)
    ((_, text),) = lines(lambda progress: progress.event(trial, Event("hit", "pixel:fog:dehazed")), verbose=True)
    assert text.startswith("pixel:fog:dehazed: hit")


def test_a_run_of_which_nothing_is_left_says_so(tmp_path):
    trial = fakes.trial(tmp_path)
    ((_, text),) = lines(
        lambda progress: progress.ended(trial, fakes.finished(0.5, stages=[{"hit": True}])), verbose=True
    )
    assert text.endswith("every stage is a hit")


def test_progress_says_where_it_is_and_how_long_it_takes():
    metrics = {"step": 30, "steps": 90, "loss": 1.2345, "selection": 0.25, "images_per_second": 12.0}
    assert describe(metrics, 20.0, 10) == "30/90  loss 1.234  selection 25.0  12.0 images/s  1 min 00 s left"
    assert describe({"step": 3, "steps": 3, "selection": 21.5}, 0.0, 3) == "3/3  selection 21.5"
    assert describe({"step": 3, "steps": 3, "selection": 2.0, "selection_step": 2}, 0.0, 3) == "3/3"
    assert describe({"step": 30, "steps": 90}, 0.0, 30) == "30/90"
