"""metrics.jsonl: one line a point, whole after a kill, each step once after a resume."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.tracking.metrics_file import MetricsFile, read_metrics, truncate_metrics
from phi3k_trainer.tracking.tracker import Tracker


class Notes(Tracker):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


def test_every_point_is_a_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, report=Tracker())
    metrics.log(1, {"train/loss": 2.5})
    metrics.log(1, {"eval/loss": float("nan")})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line.get("train/loss"), "eval/loss" in line) for line in lines] == [
        (1, 2.5, False),
        (1, None, True),
    ]
    assert lines[1]["eval/loss"] is None, "JSON has no NaN"


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, report=Tracker()).log(1, {"train/loss": 2.5})
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert [line["step"] for line in read_metrics(path)] == [1]


@given(logged=st.integers(0, 8), saved=st.integers(0, 8), cut=st.integers(0, 30))
def test_after_a_resume_each_step_stands_once(
    tmp_path_factory: pytest.TempPathFactory, logged: int, saved: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    saved = min(saved, logged)
    before = MetricsFile(path, report=Tracker())
    for step in range(1, logged + 1):
        before.log(step, {"train/loss": step})
    if logged > saved:  # the kill may cut into the last line, which is from after the checkpoint
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) - cut])
    truncate_metrics(path, saved)
    after = MetricsFile(path, report=Tracker())
    for step in range(saved + 1, 10):
        after.log(step, {"train/loss": step})
    assert [line["step"] for line in read_metrics(path)] == list(range(1, 10))


def test_a_missing_file_counts_as_empty(tmp_path: Path) -> None:
    truncate_metrics(tmp_path / "metrics.jsonl", 5)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_what_the_disk_refuses_is_written_later_and_said_once(tmp_path: Path) -> None:
    notes = Notes()
    directory = tmp_path / "run"
    metrics = MetricsFile(directory / "metrics.jsonl", report=notes)
    metrics.log(1, {"train/loss": 1.0})
    metrics.log(2, {"train/loss": 0.5})
    assert len(notes.messages) == 1
    assert "the run continues" in notes.messages[0]
    directory.mkdir()
    metrics.log(3, {"train/loss": 0.2})
    assert [line["step"] for line in read_metrics(directory / "metrics.jsonl")] == [1, 2, 3]
