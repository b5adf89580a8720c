"""Gathering what the cluster reports about a run, for `diagnosis`."""

from collections.abc import Iterator, Sequence
from itertools import islice

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.causes.replicas import current_pods, has_log, pod_selector
from phi3k_jobs.causes.stalling import is_unready
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.runs import FINISHED, Run, workloads_of
from phi3k_jobs.watch.diagnosis import Facts
from phi3k_jobs.watch.logs import read_tail
from phi3k_jobs.watch.progress import read_progress
from phi3k_trainer.contract import Progress
from phi3k_trainer.errors import Phi3kError

# All waiting pods wait for the same reason: asking about a few of them is enough.
PODS_ASKED_ABOUT = 3
TAIL_LINES = 200


def gather(cluster: Cluster, run: Run) -> Facts:
    """Return what the cluster reports about the run now."""
    pods = current_pods(cluster.list("Pod", label_selector=pod_selector(run.name)))
    if run.state in FINISHED:
        made = KINDS[run.kind].made_job_of(run.name)
        return Facts(
            run,
            pods,
            # After a success, the events before it are not needed.
            events=[] if run.state == "Succeeded" else list(_since(run, _events_of(cluster, run.name))),
            made_job=cluster.get("Job", made) if made else None,
        )
    claims = _claims(cluster, pods)
    return Facts(
        run=run,
        pods=pods,
        events=list(_events(cluster, run, pods, claims)),
        claims=claims,
        workloads=workloads_of(cluster, run),
    )


def progress_of(cluster: Cluster, facts: Facts) -> Progress | None:
    """Return the progress in the log of the first replica; None if it has logged none yet."""
    if not facts.pods or not has_log(facts.pods[0]):
        return None
    try:
        return read_progress(read_tail(cluster, facts.pods[0], TAIL_LINES))
    except Phi3kError:
        # The log is lost with its pod or node; the diagnosis reports these.
        return None


def _claims(cluster: Cluster, pods: Sequence[Manifest]) -> list[Manifest]:
    """Return the claims that a pod of the run mounts; every replica mounts the same."""
    volumes = pods[0]["spec"].get("volumes", []) if pods else []
    names = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
    found = (cluster.get("PersistentVolumeClaim", name) for name in names)
    return [claim for claim in found if claim is not None]


def _events(cluster: Cluster, run: Run, pods: Sequence[Manifest], claims: Sequence[Manifest]) -> Iterator[Manifest]:
    """Yield the events of the job, of the Job created for it, of pods that wait or stall, of claims not bound."""
    waiting = (pod for pod in pods if pod["status"]["phase"] != "Running" or is_unready(pod))
    names = [name for name in (run.name, KINDS[run.kind].made_job_of(run.name)) if name is not None]
    names += [pod["metadata"]["name"] for pod in islice(waiting, PODS_ASKED_ABOUT)]
    for name in names:
        yield from _since(run, _events_of(cluster, name))
    for claim in claims:
        if claim.get("status", {}).get("phase") != "Bound":
            yield from _events_of(cluster, claim["metadata"]["name"])


def _since(run: Run, events: Sequence[Manifest]) -> Iterator[Manifest]:
    """Yield the events that are not older than the run: earlier ones belong to another run of the same name."""
    return (event for event in events if event_time(event) >= to_the_second(run.created))


def _events_of(cluster: Cluster, name: str) -> list[Manifest]:
    """Return the events of the objects of that name, the newest last."""
    return sorted(cluster.list("Event", field_selector=f"involvedObject.name={name}"), key=event_time)


def event_time(event: Manifest) -> str:
    """Return when an event was last seen, to the second."""
    last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return to_the_second(str(last))


def to_the_second(time: str) -> str:
    """Cut the fraction and the zone off a time in RFC 3339, so that times sort as text."""
    return time[: len("2026-01-01T00:00:00")]
