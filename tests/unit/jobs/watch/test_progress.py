"""Step, loss and ETA are read from what the trainer's console really writes."""

import json

import pytest
from rich.console import Console

from phi3k_jobs.watch.progress import read_progress
from phi3k_trainer.contract import Progress
from phi3k_trainer.tracking.console import console_tracker


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a run that goes on from step 10 of 40 and makes two steps."""
    monkeypatch.setenv("PHI3K_LOG_FORMAT", request.param)
    monkeypatch.setattr("phi3k_trainer.tracking.console.SECONDS_BETWEEN_LINES", 0.0)
    console = Console(width=80, force_terminal=False, record=True)
    tracker = console_tracker(console, "demo", 10, 40)
    for step, loss in ((11, 1.5), (12, 1.25)):
        tracker.log(step, {"train/loss": loss, "train/tokens_per_second": 9034.0})
    tracker.log(12, {"eval/loss": 2.0})
    tracker.note("saved step-12")
    return console.export_text().splitlines()


def test_the_last_point_of_a_run_is_found_whatever_was_written_after_it(written: list[str]) -> None:
    progress = read_progress(written)
    assert progress is not None
    assert (progress.step, progress.total_steps, progress.loss) == (12, 40, 1.25)
    assert progress.remaining[0].isdigit()


@pytest.mark.parametrize("line", ["", "{}", "[1]", '{"step": 1}', "step 1/2", json.dumps({"step": 1, "metrics": {}})])
def test_other_lines_are_no_progress(line: str) -> None:
    assert read_progress([line]) is None


def test_a_loss_that_is_not_a_number_is_shown_as_it_is() -> None:
    line = "demo  step 3/9  loss nan  ETA 0:05"
    assert str(read_progress([line])) == str(Progress(3, 9, float("nan"), "0:05"))
