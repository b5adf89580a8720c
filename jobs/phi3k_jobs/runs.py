"""Finding runs on a cluster, and what can be done to them: list, cancel, suspend, resume."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.refusals import NotFoundError
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.kinds.kind import Kind
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RUN_LABEL, RUNS_VOLUME, WANDB_ANNOTATION
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, UnavailableError

FINISHED = ("Succeeded", "Failed")
# Kueue's label for the uid of the job that a Workload stands for.
WORKLOAD_LABEL = "kueue.x-k8s.io/job-uid"
GONE_SECONDS = 30.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """A run, as its job object describes it."""

    name: str
    kind: KindName
    state: str
    """Pending, Running, Restarting, Suspended, Succeeded or Failed."""
    created: str
    """Time of creation, RFC 3339."""
    wandb_run_id: str | None
    job: Manifest

    @property
    def uid(self) -> str:
        """The job's own identity: another job of the same name has a different one."""
        return str(self.job["metadata"]["uid"])

    @property
    def nodes(self) -> int:
        """How many replicas the run has."""
        return KINDS[self.kind].nodes(self.job)


def is_run(entry: Manifest) -> bool:
    """Return whether phi3k created an object for a run."""
    return RUN_LABEL in entry["metadata"].get("labels", {})


def jobs_named(cluster: Cluster, name: str) -> Iterator[tuple[str, Manifest, Run | None]]:
    """Yield the jobs of any kind with that name: object kind, job, and its run if phi3k created it."""
    for kind in KINDS.values():
        job = cluster.get(kind.job.kind, name)
        if job is not None and not is_made_of_another(job):
            yield kind.job.kind, job, _run(kind, job) if is_run(job) else None


def is_made_of_another(job: Manifest) -> bool:
    """Return whether an operator has made the job of one with the same name, as of a TrainJob its JobSet."""
    metadata = job["metadata"]
    owners = metadata.get("ownerReferences", [])
    return any(owner.get("controller") and owner["name"] == metadata["name"] for owner in owners)


def find_run(cluster: Cluster, name: str) -> Run:
    """Return the run `name`, whatever kind of job it is.

    Raises:
        MissingInputError: the namespace has no such run, or does not exist.
    """
    for _, _, run in jobs_named(cluster, name):
        if run is not None:
            return run
    check_namespace(cluster)
    raise MissingInputError(
        f"there is no run {name} in namespace {cluster.namespace} of context {cluster.context}: `phi3k list` shows the "
        "runs there are (another namespace: --namespace)"
    )


def list_runs(cluster: Cluster) -> Iterator[Run]:
    """Yield the namespace's runs, newest first within a kind, read page by page.

    Raises:
        MissingInputError: there is no such namespace.
    """
    empty = True
    for kind in KINDS.values():
        found = [_run(kind, job) for job in cluster.list(kind.job.kind, label_selector=RUN_LABEL)]
        empty = empty and not found
        yield from sorted(found, key=lambda run: run.created, reverse=True)
    if empty:
        check_namespace(cluster)


def check_namespace(cluster: Cluster) -> None:
    """Refuse a namespace that does not exist, which is not an error when the API lists it.

    Nothing is refused for a user who may not read namespaces.

    Raises:
        MissingInputError: there is no such namespace.
    """
    try:
        missing = cluster.get("Namespace", cluster.namespace) is None
    except PermissionDeniedError:
        return
    if missing:
        raise NotFoundError(
            f"there is no namespace {cluster.namespace} in the cluster of context {cluster.context}: name another with "
            "--namespace"
        )


def cancel(cluster: Cluster, run: Run) -> None:
    """Delete the run's job and what belongs to it; claims, and so its checkpoints, stay.

    Raises:
        OutputError: another run has its name now.
    """
    cluster.delete(KINDS[run.kind].job.kind, run.name, uid=run.uid)


def remove(cluster: Cluster, run: Run) -> None:
    """Cancel the run and wait until its job is gone.

    Raises:
        OutputError: another run has its name now.
        UnavailableError: it is still there after half a minute.
    """
    cancel(cluster, run)
    deadline = time.monotonic() + GONE_SECONDS
    while (job := cluster.get(KINDS[run.kind].job.kind, run.name)) and job["metadata"]["uid"] == run.uid:
        if time.monotonic() > deadline:
            raise UnavailableError(f"the failed run {run.name} is still being deleted: submit again later")
        time.sleep(POLL_SECONDS)


def workloads_of(cluster: Cluster, run: Run) -> list[Manifest]:
    """Return Kueue's workloads for the run; none if Kueue does not manage it."""
    return list(cluster.list("Workload", label_selector=f"{WORKLOAD_LABEL}={run.uid}"))


def set_suspended(cluster: Cluster, run: Run, *, suspended: bool) -> None:
    """Suspend the run (its pods save and end, its GPUs are free) or continue it from its last checkpoint.

    Kueue itself suspends and starts the jobs that it manages, and would undo a change of the job. So its workload is
    changed instead.
    """
    if workloads := workloads_of(cluster, run):
        for workload in workloads:
            cluster.patch("Workload", workload["metadata"]["name"], {"spec": {"active": not suspended}})
        return
    kind = KINDS[run.kind]
    cluster.patch(kind.job.kind, run.name, kind.suspension(suspended))


def runs_claim(cluster: Cluster, run: Run) -> str | None:
    """Return the name of the claim that keeps the run's checkpoints.

    None if the object that names it is gone, and for a Job of `phi3k cache`, which has none.
    """
    kind = KINDS[run.kind]
    holder = run.job if kind.runtime is None else cluster.get(kind.runtime.kind, run.name)
    if holder is None:
        return None
    claims = (
        str(volume["persistentVolumeClaim"]["claimName"])
        for volume in kind.pods(holder)["spec"]["volumes"]
        if volume["name"] == RUNS_VOLUME
    )
    return next(claims, None)


def _run(kind: Kind, job: Manifest) -> Run:
    metadata = job["metadata"]
    return Run(
        name=metadata["name"],
        kind=kind.name,
        state=kind.state(job),
        created=metadata["creationTimestamp"],
        wandb_run_id=metadata.get("annotations", {}).get(WANDB_ANNOTATION),
        job=job,
    )
