"""The logs of a run as they are now, read through the core API."""

from collections.abc import Iterator
from dataclasses import dataclass

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.causes.replicas import by_rank, container_of, has_log, pod_selector, rank_of
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.runs import Run
from phi3k_trainer.errors import MissingInputError


@dataclass(frozen=True)
class Line:
    """One line of a replica's log."""

    rank: int
    pod: str
    text: str


def read_tail(cluster: Cluster, pod: Manifest, lines: int) -> list[str]:
    """Return the last lines of a pod's log."""
    return list(lines_of(cluster, pod, {"tailLines": str(lines)}))


def read_logs(cluster: Cluster, run: Run, *, rank: int | None = None, previous: bool = False) -> Iterator[Line]:
    """Yield the log of each replica as it is now, one after the other.

    With `previous` it is the log of the pod that failed before this one.

    Raises:
        MissingInputError: no replica, or not the one asked for, has such a log.
    """
    pods = _of_rank(by_rank(cluster.list("Pod", label_selector=pod_selector(run.name))), run, rank)
    if previous:
        chosen = dict(_previous(pods))
        if not chosen:
            raise MissingInputError(
                f"the cluster has no earlier log of {run.name}: nothing was restarted, or the operator has removed the "
                f"pod that failed, with its log; its lines are in {run.name}/logs on the claim of the runs"
            )
    else:
        chosen = {rank_of(pod): pod for pod in pods if has_log(pod)}
        if not chosen:
            raise MissingInputError(f"{run.name} has no log yet: `phi3k status {run.name}` shows why, -f waits for it")
    for index, pod in chosen.items():
        for text in lines_of(cluster, pod, {}):
            yield Line(index, pod["metadata"]["name"], text)


def _of_rank(pods: list[Manifest], run: Run, rank: int | None) -> list[Manifest]:
    if rank is None:
        return pods
    found = [pod for pod in pods if rank_of(pod) == rank]
    if not found:
        there = ", ".join(map(str, sorted({rank_of(pod) for pod in pods}))) or "none"
        raise MissingInputError(f"{run.name} has no replica {rank}; it has: {there}")
    return found


def _previous(pods: list[Manifest]) -> Iterator[tuple[int, Manifest]]:
    """Yield for each rank the pod before the current one."""
    for index in sorted({rank_of(pod) for pod in pods}):
        own = [pod for pod in pods if rank_of(pod) == index]
        if len(own) > 1:
            yield index, own[-2]


def lines_of(cluster: Cluster, pod: Manifest, query: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a pod's log as they come."""
    name = pod["metadata"]["name"]
    path, query = f"{cluster.path('Pod', name)}/log", {"container": container_of(pod), **query}
    with cluster.stream(path, query=query, what=f"read the log of {name}") as response:
        rest = b""
        for piece in response.stream():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")
