"""What a person or a log collector sees of a run."""

import io
import json

import pytest
from rich.console import Console

from phi3k_trainer.tracking.console import PlainLines, ProgressBar, console_tracker
from phi3k_trainer.tracking.tracker import Tracker


def run_of_two_steps(tracker: Tracker) -> None:
    tracker.log(1, {"train/loss": 1.25, "train/tokens_per_second": 4321.0})
    tracker.note("checkpoint saved [in brackets]")
    tracker.log(2, {"train/loss": 1.0, "train/tokens_per_second": 4321.0})
    tracker.log(2, {"eval/title/exact_match": 0.75})
    tracker.finish(0)


def test_a_pods_log_has_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHI3K_LOG_FORMAT", raising=False)
    output = io.StringIO()
    tracker = console_tracker(Console(file=output, width=40), "demo", 0, 2)
    assert isinstance(tracker, PlainLines)
    run_of_two_steps(tracker)
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("demo  step 1/2  loss 1.2500  4,321 tokens/s  ETA ")
    assert lines[1] == "checkpoint saved [in brackets]"
    assert lines[2].startswith("demo  step 2/2  loss 1.0000"), "the last step is always printed"
    assert lines[3] == "evaluation at step 2: title exact_match 0.75"


def test_plain_lines_come_seconds_apart() -> None:
    output = io.StringIO()
    tracker = PlainLines(Console(file=output), "demo", 0, 1000)
    for step in range(1, 500):
        tracker.log(step, {"train/loss": 1.0})
    assert len(output.getvalue().splitlines()) == 1


def test_a_terminal_has_a_bar_with_loss_speed_and_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHI3K_LOG_FORMAT", raising=False)
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, color_system=None, legacy_windows=False)
    tracker = console_tracker(console, "demo", 0, 2)
    assert isinstance(tracker, ProgressBar)
    run_of_two_steps(tracker)
    text = output.getvalue()
    for part in ("demo", "2/2", "loss 1.0000", "4,321 tokens/s", "ETA 0:00", "[in brackets]", "title exact_match 0.75"):
        assert part in text


def test_a_log_collector_gets_one_json_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3K_LOG_FORMAT", "json")
    output = io.StringIO()
    tracker = console_tracker(Console(file=output, width=20), "demo", 0, 2)
    run_of_two_steps(tracker)
    tracker.log(3, {"train/loss": float("nan")})
    records = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [record.get("step") for record in records] == [1, None, 2, 2, 3]
    assert records[0]["metrics"]["train/loss"] == 1.25
    assert records[1]["message"] == "checkpoint saved [in brackets]"
    assert records[4]["metrics"]["train/loss"] == "nan"
    assert {record["run"] for record in records} == {"demo"}
