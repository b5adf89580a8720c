"""How a process of a run ended, in a form that survives torchrun, which turns every failure into exit code 1."""

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config

from phi3k_trainer.contract import (
    DEADLINE_EXIT_CODE,
    MEMORY_EXCEEDED,
    PERMANENT_EXIT_CODES,
    PREEMPTED_EXIT_CODE,
    SIGNAL_EXIT_CODE_BASE,
    UNEXPLAINED_EXIT_CODE,
    UNREADABLE_STORAGE_EXIT_CODE,
)
from phi3k_trainer.files import convert, encode_json, read_json


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class ExitReport:
    """The end of one process: its exit code, why, and how far the run had come."""

    exit_code: int
    message: str
    step: int | None = None
    checkpoint: str | None = None

    def to_json(self) -> str:
        """Return the outcome as one line of JSON: the pod's termination message."""
        return encode_json({name: value for name, value in asdict(self).items() if value is not None}).decode().rstrip()


def write_exit_report(directory: Path, rank: int, outcome: ExitReport) -> None:
    """Leave the outcome of process `rank` where the entry point looks for it."""
    (directory / f"rank-{rank:05d}.json").write_text(outcome.to_json(), encoding="utf-8")


def read_exit_reports(directory: Path) -> list[ExitReport]:
    """Return the outcomes that processes left, in rank order."""
    return [convert(ExitReport, read_json(path)) for path in sorted(directory.glob("rank-*.json"))]


def combine(
    outcomes: Sequence[ExitReport],
    status: int,
    *,
    deadline_passed: bool,
    killed_by: int | None = None,
    out_of_memory: bool = False,
) -> ExitReport:
    """Return the outcome of a replica from those of its processes and torchrun's own wait `status` (0 is success).

    A permanent error of any process outweighs the rest, since its peers fail only because of it; then comes
    preemption, then storage that failed; what nobody explained invites another try.

    Args:
        outcomes: What the processes left.
        status: As `os.waitstatus_to_exitcode` gives it; negative: killed by that signal.
        deadline_passed: Whether that is why they were asked to stop.
        killed_by: The signal that killed the first process that failed, if one did.
        out_of_memory: Whether the kernel has killed a process of the container to free memory.
    """
    permanent = [outcome for outcome in outcomes if outcome.exit_code in PERMANENT_EXIT_CODES]
    if permanent:
        return permanent[0]
    preempted = [outcome for outcome in outcomes if outcome.exit_code == PREEMPTED_EXIT_CODE]
    if preempted and deadline_passed:
        saved = preempted[0]
        return ExitReport(DEADLINE_EXIT_CODE, f"the deadline has passed: {saved.message}", saved.step, saved.checkpoint)
    if preempted:
        return preempted[0]
    explained = [outcome for outcome in outcomes if outcome.exit_code == UNREADABLE_STORAGE_EXIT_CODE]
    if explained:
        return explained[0]
    if status == 0:
        return outcomes[0] if outcomes else ExitReport(0, "done")
    who, number = ("torchrun", -status) if status < 0 else ("a process", killed_by)
    if number is not None:
        why = f": the container has used {MEMORY_EXCEEDED}" if out_of_memory else " before the run could save"
        return ExitReport(SIGNAL_EXIT_CODE_BASE + number, f"{who} was killed by {signal.Signals(number).name}{why}")
    return ExitReport(UNEXPLAINED_EXIT_CODE, "a process ended without saying why: it or a peer was lost or killed")
