"""The status of a run: its state and cause, its progress, and how the attempt before ended."""

from dataclasses import dataclass

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.runs import Run
from phi3k_jobs.watch.diagnosis import Diagnosis, diagnose
from phi3k_jobs.watch.earlier import Earlier, find_earlier
from phi3k_jobs.watch.facts import gather, progress_of
from phi3k_trainer.contract import Progress


@dataclass(frozen=True)
class RunStatus:
    """What `phi3k status` shows of a run."""

    diagnosis: Diagnosis
    progress: Progress | None
    """None if nothing is logged yet."""
    earlier: Earlier | None
    """How the attempt before this one ended."""


def run_status(cluster: Cluster, run: Run) -> RunStatus:
    """Ask the cluster for the status of the run, for its job as it was when `run` was found."""
    facts = gather(cluster, run)
    return RunStatus(diagnose(facts), progress_of(cluster, facts), find_earlier(cluster, facts))
