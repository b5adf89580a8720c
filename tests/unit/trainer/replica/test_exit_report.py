"""A replica's exit code, from those of its processes."""

import pytest

from phi3k_trainer.replica.exit_report import ExitReport, combine, read_exit_reports, write_exit_report

PREEMPTED = ExitReport(143, "saved", step=7, checkpoint="step-000007")
WRONG = ExitReport(65, "no rows")
FAILING = ExitReport(144, "a.png can't be read: Input/output error")
DONE = ExitReport(0, "done")


@pytest.mark.parametrize(
    ("outcomes", "status", "deadline_passed", "exit_code"),
    [
        ([DONE, DONE], 0, False, 0),
        ([PREEMPTED, PREEMPTED], 1, False, 143),
        ([PREEMPTED, WRONG], 1, False, 65),
        ([PREEMPTED], 1, True, 75),
        ([FAILING], 1, False, 144),
        ([PREEMPTED, FAILING], 1, False, 143),
        ([FAILING, WRONG], 1, False, 65),
        ([], 1, False, 129),
        ([], -9, False, 137),
        ([], -15, False, 143),
    ],
    ids=[
        "done",
        "preempted",
        "permanent outweighs preempted",
        "deadline",
        "storage",
        "saved before storage failed",
        "permanent outweighs storage",
        "unexplained",
        "killed",
        "terminated",
    ],
)
def test_the_replicas_exit_code(outcomes: list[ExitReport], status: int, deadline_passed: bool, exit_code: int) -> None:
    assert combine(outcomes, status, deadline_passed=deadline_passed).exit_code == exit_code


def test_a_passed_deadline_still_names_the_checkpoint() -> None:
    assert combine([PREEMPTED], 1, deadline_passed=True).checkpoint == "step-000007"


def test_outcomes_are_read_in_rank_order(tmp_path) -> None:
    for rank, outcome in ((10, WRONG), (2, PREEMPTED)):
        write_exit_report(tmp_path, rank, outcome)
    assert read_exit_reports(tmp_path) == [PREEMPTED, WRONG]


def test_a_process_that_was_killed_is_named_by_its_signal() -> None:
    killed = combine([], 1, deadline_passed=False, killed_by=9)
    assert killed.exit_code == 137
    assert "SIGKILL" in killed.message


@pytest.mark.parametrize(("status", "killed_by"), [(1, 9), (-9, None)], ids=["a process", "torchrun"])
def test_what_the_kernel_killed_for_its_memory_says_so(status: int, killed_by: int | None) -> None:
    outcome = combine([], status, deadline_passed=False, killed_by=killed_by, out_of_memory=True)
    assert outcome.exit_code == 137
    assert "more memory than its limit" in outcome.message
