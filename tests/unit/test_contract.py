"""Trainer and cluster side agree: what one writes the other reads, and each fact of theirs is spelled once."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from phi3k_jobs.causes.endings import outcome_in
from phi3k_jobs.watch.earlier import in_first_line
from phi3k_jobs.watch.progress import read_progress
from phi3k_trainer import contract
from phi3k_trainer.replica import health_check
from phi3k_trainer.replica.attempts import begin_log
from phi3k_trainer.replica.exit_report import ExitReport
from phi3k_trainer.tracking.console import JsonLines, PlainLines
from tests.unit.test_structure import CHECKOUT, modules

STEPS = st.integers(0, 10**9)
SPEEDS = st.none() | st.floats(0, 1e9)
LOSSES = st.floats()
REMAINING = st.sampled_from(["-:--", "0:00", "9:59", "59:59", "1:00:00", "123:45:06"])
RUNS = st.text("abcxyz0189-.", min_size=1, max_size=40)
property_test = settings(max_examples=50, deadline=None)


def shown(loss: float) -> str:
    """A loss with the digits that a line has, as text: nan equals nan."""
    return f"{loss:.4f}"


def logged(tracker: Callable[..., PlainLines | JsonLines]) -> list[str]:
    """The lines of a log after step 3 of 9."""
    output = StringIO()
    written = tracker(Console(file=output, width=40), "demo", 0, 9)
    written.log(3, {contract.TRAIN_LOSS: 1.25, "train/tokens_per_second": 9034.0})
    written.note("saved step-3")
    return output.getvalue().splitlines()


@property_test
@given(run=RUNS, step=STEPS, total=STEPS, loss=LOSSES, speed=SPEEDS, remaining=REMAINING)
def test_every_progress_line_is_read_as_it_was_written(
    run: str, step: int, total: int, loss: float, speed: float | None, remaining: str
) -> None:
    line = contract.write_progress_line(run, contract.Progress(step, total, loss, remaining), speed)
    found = contract.read_progress_line(line)
    assert found is not None
    assert (found.step, found.total_steps, found.remaining) == (step, total, remaining)
    assert shown(found.loss) == shown(loss)


@property_test
@given(step=STEPS, total=STEPS, loss=LOSSES, remaining=REMAINING)
def test_every_progress_record_is_read_as_it_was_written(step: int, total: int, loss: float, remaining: str) -> None:
    record = contract.progress_record(step, total, remaining, {contract.TRAIN_LOSS: str(loss), "train/epoch": 1.0})
    found = contract.read_progress_record(json.dumps(record))
    assert str(found) == str(contract.Progress(step, total, loss, remaining))


@property_test
@given(st.text())
def test_other_text_is_not_taken_for_a_form(text: str) -> None:
    line = text + "  step 1/2  loss abc  ETA 0:10"
    assert contract.read_progress_line(line) is None
    assert contract.read_progress_record(line) is None
    assert contract.read_complaint(text) is None
    assert contract.read_later_attempt(line) is None


@pytest.mark.parametrize(
    ("tracker", "name", "other"),
    [
        (PlainLines, "PROGRESS_LINE", "  batch {step} of {total_steps}: {loss}{speed}, {remaining} to the end"),
        (PlainLines, "PROGRESS_SPEED", " at {tokens_per_second} tokens a second"),
        (PlainLines, "TRAIN_LOSS", "training/loss"),
        (JsonLines, "TRAIN_LOSS", "training/loss"),
    ],
)
def test_another_wording_of_progress_reaches_log_and_status(
    monkeypatch: pytest.MonkeyPatch, tracker: Callable[..., PlainLines | JsonLines], name: str, other: str
) -> None:
    monkeypatch.setattr(contract, name, other)
    found = read_progress(logged(tracker))
    assert found is not None
    assert (found.step, found.total_steps, found.loss) == (3, 9, 1.25)


def test_a_line_of_another_wording_is_not_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = logged(PlainLines)
    monkeypatch.setattr(contract, "PROGRESS_LINE", "  batch {step} of {total_steps}: {loss}{speed}, {remaining} left")
    assert logged(PlainLines) != lines
    assert read_progress(lines) is None


def test_the_probes_copy_of_the_complaint_is_the_contracts() -> None:
    assert health_check.COMPLAINT == contract.COMPLAINT


def test_another_wording_of_the_complaint_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (contract, health_check):
        monkeypatch.setattr(module, "COMPLAINT", "has stood still since {since} while {where}")
    written = health_check.complaint(None, now=1090.0, started=1000.0)
    assert contract.read_complaint(written) == contract.Complaint("1970-01-01T00:16:40Z", "starting")


def test_what_the_probe_prints_is_read_as_its_complaint(tmp_path: Path) -> None:
    health = {"phase": "training", "time": 1000.0, "limit_seconds": 1.0, "step": 12, "total_steps": 40}
    (tmp_path / "health.json").write_text(json.dumps(health))
    command = [sys.executable, "-I", "-S", health_check.__file__, str(tmp_path / "health.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
    found = contract.read_complaint(f"Readiness probe failed: {printed}")
    assert found == contract.Complaint("1970-01-01T00:16:40Z", "training at step 12 of 40")


@pytest.mark.parametrize("outcome", [ExitReport(143, "stopped after step 12", 12, "/runs/demo/step-12"), None])
def test_the_first_line_of_a_second_attempt_is_read_as_the_entry_point_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: ExitReport | None
) -> None:
    log, _ = begin_log(tmp_path, "demo-0")
    log.write((outcome.to_json() if outcome else "killed").encode())
    log.close()
    begin_log(tmp_path, "demo-0")[0].close()
    found = in_first_line("demo-0", capsys.readouterr().out.splitlines()[0])
    assert found is not None
    assert (found.attempt, found.exit_code) == (2, outcome.exit_code if outcome else None)
    assert found.message.startswith("attempt 2 of demo-0; the one before ended ")


def test_the_termination_message_is_read_as_the_entry_point_writes_it() -> None:
    outcome = ExitReport(143, "stopped after step 12", 12, "/runs/demo/step-12")
    assert ExitReport(**outcome_in(outcome.to_json())) == outcome


def test_the_programs_of_the_contract_exist() -> None:
    programs = [value for name, value in vars(contract).items() if name.endswith("_MODULE")]
    assert programs
    assert not [program for program in programs if find_spec(program) is None]


def test_the_image_has_the_probe_and_the_revision_where_the_contract_says() -> None:
    dockerfile = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    assert f"COPY trainer/phi3k_trainer/replica/health_check.py {contract.HEALTH_CHECK}\n" in dockerfile
    assert f"ENV {contract.REVISION_VARIABLE}=" in dockerfile


def test_neither_side_spells_a_name_or_path_of_the_contract_again() -> None:
    owned = {
        value
        for name, value in vars(contract).items()
        if name.endswith(("_VARIABLE", "_MODULE", "_PREFIX")) or (name.isupper() and str(value).startswith("/"))
    }
    elsewhere = [
        f"{name}, line {node.lineno}: {node.value}"
        for name, file in modules()
        if name.startswith(("phi3k_jobs.", "phi3k_trainer.")) and name != contract.__name__
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in owned
    ]
    assert not elsewhere


def test_a_first_line_of_another_shape_is_not_an_attempt() -> None:
    assert contract.read_later_attempt('{"attempt": 2, "message": "m", "previous": 5}') is None
