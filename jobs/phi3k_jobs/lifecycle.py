"""Finding runs on a cluster, and what can be done to them: list, cancel, suspend, resume."""

from collections.abc import Iterator
from dataclasses import dataclass

from phi3k_jobs.cluster import Cluster
from phi3k_jobs.discovery import KIND_OBJECTS
from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import RUN_LABEL, WANDB_ANNOTATION
from phi3k_jobs.render import Kind
from phi3k_trainer.errors import MissingInputError

FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Run:
    """A run as its job object tells it."""

    name: str
    kind: Kind
    state: str
    """Pending, Running, Restarting, Suspended, Succeeded or Failed."""
    created: str
    """Time of creation, RFC 3339."""
    wandb_run_id: str | None
    job: Manifest


def find_run(cluster: Cluster, name: str) -> Run:
    """Return the run `name`, whatever kind of job it is.

    Raises:
        MissingInputError: the namespace has no such run.
    """
    for kind, object_kind in KIND_OBJECTS.items():
        job = cluster.get(object_kind, name)
        if job is not None and RUN_LABEL in job["metadata"].get("labels", {}):
            return _run(kind, job)
    raise MissingInputError(
        f"there is no run {name} in namespace {cluster.namespace} of context {cluster.context}: `phi3k list` shows the "
        "runs there are (another namespace: --namespace)"
    )


def list_runs(cluster: Cluster) -> Iterator[Run]:
    """Yield the namespace's runs, newest first within a kind, read page by page."""
    for kind, object_kind in KIND_OBJECTS.items():
        found = [_run(kind, job) for job in cluster.list(object_kind, label_selector=RUN_LABEL)]
        yield from sorted(found, key=lambda run: run.created, reverse=True)


def cancel(cluster: Cluster, run: Run) -> None:
    """Delete the run's job and what belongs to it; claims, and so its checkpoints, stay."""
    cluster.delete(KIND_OBJECTS[run.kind], run.name)


def set_suspended(cluster: Cluster, run: Run, *, suspended: bool) -> None:
    """Suspend the run (its pods save and go, GPUs are free) or let it go on from its last checkpoint."""
    change: Manifest = {"spec": {"suspend": suspended}}
    if run.kind == "pytorchjob":
        change = {"spec": {"runPolicy": {"suspend": suspended}}}
    cluster.patch(KIND_OBJECTS[run.kind], run.name, change)


def state_of(kind: Kind, job: Manifest) -> str:
    """Return the run's state from the conditions of its job."""
    conditions = {
        condition["type"]
        for condition in job.get("status", {}).get("conditions", [])
        if condition.get("status") == "True"
    }
    if conditions & {"Succeeded", "Complete"}:
        return "Succeeded"
    for state in ("Failed", "Suspended", "Restarting"):
        if state in conditions:
            return state
    spec = job["spec"]
    if spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"):
        return "Suspended"
    active = job.get("status", {}).get("active", 0) if kind == "job" else "Running" in conditions
    return "Running" if active else "Pending"


def _run(kind: Kind, job: Manifest) -> Run:
    metadata = job["metadata"]
    return Run(
        name=metadata["name"],
        kind=kind,
        state=state_of(kind, job),
        created=metadata["creationTimestamp"],
        wandb_run_id=metadata.get("annotations", {}).get(WANDB_ANNOTATION),
        job=job,
    )
