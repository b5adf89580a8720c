"""The error budget: what may be set aside, and what a run that stops says."""

import json
from pathlib import Path

import pytest

from phi3k_trainer.data.quarantine import write_quarantine
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.errors import DataError


def rejections(number: int) -> list[Rejection]:
    return [Rejection(f"row-{index}", "http_404" if index % 3 else "missing_value", "gone") for index in range(number)]


def test_reasons_are_counted_the_most_frequent_first(tmp_path: Path) -> None:
    report = write_quarantine(rejections(10), 100, tmp_path / "quarantine.jsonl")
    assert list(report.counts.items()) == [("http_404", 6), ("missing_value", 4)]


def test_each_rejection_is_a_line_of_the_file(tmp_path: Path) -> None:
    report = write_quarantine(
        [Rejection("Mäntel-7", "http_404", "gone", location="http://x/7")], 9, tmp_path / "q.jsonl"
    )
    lines = [json.loads(line) for line in report.path.read_text().splitlines()]
    assert lines == [
        {"key": "Mäntel-7", "reason": "http_404", "detail": "gone", "transient": False, "location": "http://x/7"}
    ]


def test_exactly_the_budget_is_allowed(tmp_path: Path) -> None:
    write_quarantine(rejections(5), 100, tmp_path / "q.jsonl").check_budget(0.05)


def test_over_the_budget_the_message_has_counts_reasons_and_the_file(tmp_path: Path) -> None:
    report = write_quarantine(rejections(6), 100, tmp_path / "q.jsonl")
    with pytest.raises(DataError) as caught:
        report.check_budget(0.05)
    message = str(caught.value)
    assert "6 of 100 rows" in message
    assert "http_404 4, missing_value 2" in message
    assert str(tmp_path / "q.jsonl") in message
    assert report.rejections[0].detail in message


def test_a_report_can_be_extended_by_what_encoding_finds(tmp_path: Path) -> None:
    report = write_quarantine(rejections(1), 10, tmp_path / "q.jsonl").extended(
        [Rejection("long", "too_long", "9,000")]
    )
    assert report.counts["too_long"] == 1
    assert len(report.path.read_text().splitlines()) == 2


def test_a_detail_that_is_not_unicode_is_written_as_valid_json(tmp_path: Path) -> None:
    report = write_quarantine([Rejection("k", "bad_text", "half a pair: \ud83d")], 1, tmp_path / "q.jsonl")
    assert json.loads(report.path.read_text())["detail"] == "half a pair: \\ud83d"
