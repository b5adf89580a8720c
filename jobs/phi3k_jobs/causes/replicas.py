"""Reading the pods of a run: which replica a pod is, and the state of its container. Pure functions."""

from collections.abc import Iterable

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RUN_LABEL

_CONTAINERS = frozenset(kind.container for kind in KINDS.values())
_INDEX_LABELS = tuple(dict.fromkeys(kind.index_label for kind in KINDS.values()))
TRAINER = "app.kubernetes.io/component=trainer"


def pod_selector(name: str) -> str:
    """Return the label selector of the trainer's pods of the run `name`."""
    return f"{RUN_LABEL}={name},{TRAINER}"


def rank_of(pod: Manifest) -> int:
    """Return the index of the pod's replica among the run's nodes."""
    own = pod["metadata"].get("labels", {})
    return next((int(own[label]) for label in _INDEX_LABELS if label in own), 0)


def by_rank(pods: Iterable[Manifest]) -> list[Manifest]:
    """Return the pods by rank and, within a rank, by age: a Job keeps failed pods beside the one that continues."""
    return sorted(pods, key=lambda pod: (rank_of(pod), pod["metadata"]["creationTimestamp"]))


def current_pods(pods: Iterable[Manifest]) -> list[Manifest]:
    """Return the newest pod of each rank."""
    return list({rank_of(pod): pod for pod in by_rank(pods)}.values())


def container_of(pod: Manifest) -> str:
    """Return the name of the trainer's container."""
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    return next((name for name in names if name in _CONTAINERS), names[0])


def container_status(pod: Manifest) -> Manifest:
    """Return the kubelet's status of the trainer's container, empty before the first."""
    statuses: list[Manifest] = pod.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == container_of(pod)), {})


def containers_of(pod: Manifest) -> list[Manifest]:
    """Return the kubelet's status of all containers, init containers first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def has_log(pod: Manifest) -> bool:
    """Return whether the container runs or has run."""
    return bool(container_status(pod).get("state", {}).keys() & {"running", "terminated"})


def is_running(pod: Manifest) -> bool:
    """Return whether the container runs now, and so may write more."""
    return "running" in container_status(pod).get("state", {})


def termination(pod: Manifest) -> Manifest | None:
    """Return how the container has ended, None if it has not. No kind of run restarts a container in its pod."""
    ended = container_status(pod).get("state", {}).get("terminated")
    return dict(ended) if ended else None


def conditions_of(pod: Manifest) -> dict[str, Manifest]:
    """Return the pod's conditions by their type."""
    return {str(condition["type"]): condition for condition in pod["status"].get("conditions", [])}


def disruption_of(pod: Manifest) -> str:
    """Return why Kubernetes ends the pod before its time, in its own words; empty if it does not."""
    condition = conditions_of(pod).get("DisruptionTarget", {})
    if condition.get("status") != "True":
        return ""
    return str(condition.get("message") or condition.get("reason", ""))
