"""Waiting for a run to end, also while the cluster does not answer."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.runs import FINISHED, Run, jobs_named
from phi3k_jobs.watch.diagnosis import Diagnosis, diagnose
from phi3k_jobs.watch.facts import gather
from phi3k_trainer.errors import MissingInputError, UnavailableError

POLL_SECONDS = 2.0
# sysexits(3): the run has failed and its exit code is not known.
UNKNOWN_FAILURE = 70

Answer = TypeVar("Answer")


def ignore(_report: object) -> None:
    """Do nothing: for a caller who only wants to know how the run ended."""


def until_answered(ask: Callable[[], Answer], notice: Callable[[str], None]) -> Answer:
    """Return what `ask` returns, retrying while the cluster is out of reach; call `notice` for that once."""
    is_noticed = False
    while True:
        try:
            return ask()
        except UnavailableError as error:
            if not is_noticed:
                notice(f"{error}. Trying again until it answers; the run itself is not affected")
            is_noticed = True
            time.sleep(POLL_SECONDS)


def on_change(tell: Callable[[Diagnosis], None]) -> Callable[[Diagnosis], None]:
    """Return a function that calls `tell` with each diagnosis that differs from the one before it."""
    last: tuple[str, str] | None = None

    def pass_on(found: Diagnosis) -> None:
        nonlocal last
        if last != (found.state, found.cause):
            tell(found)
        last = (found.state, found.cause)

    return pass_on


def refreshed(cluster: Cluster, run: Run, notice: Callable[[str], None]) -> Run | None:
    """Return the run as it is now; None if it was cancelled, even if another run has its name now."""
    named = until_answered(lambda: [found for _, _, found in jobs_named(cluster, run.name)], notice)
    return next((found for found in named if found is not None and found.uid == run.uid), None)


def wait_for_end(
    cluster: Cluster, run: Run, tell: Callable[[Diagnosis], None] = ignore, notice: Callable[[str], None] = ignore
) -> Diagnosis:
    """Return how the run has ended.

    Until then, `tell` is called for each change of its state, and `notice` when the cluster does not answer.

    Raises:
        MissingInputError: it was cancelled before it ended.
    """
    last: Diagnosis | None = None
    report_change = on_change(tell)
    while True:
        now = refreshed(cluster, run, notice)
        if now is None:
            raise MissingInputError(f"the run {run.name} was cancelled before it ended")
        found = until_answered(lambda now=now: diagnose(gather(cluster, now)), notice)  # type: ignore[misc]
        if now.state in FINISHED:
            # Some operators delete the pods of a job that failed: what was seen before is all there is.
            if found.exit_code is None and last is not None and last.exit_code is not None:
                return replace(last, state=now.state)
            return found
        if found.state in FINISHED:
            # A sidecar keeps its pods running, so the job will never see that the trainer has ended.
            return found
        report_change(found)
        last = found
        time.sleep(POLL_SECONDS)


def exit_code(ended: Diagnosis) -> int:
    """Return the exit code of a run that has ended: 0, or the trainer's own."""
    if ended.state == "Succeeded":
        return 0
    return ended.exit_code or UNKNOWN_FAILURE
