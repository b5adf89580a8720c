"""Pods that the kubelet has refused or ended as a whole. No container's status reports this. Pure functions.

The reasons are those of the kubelet (pkg/kubelet, 1.28 to 1.34) in the pod's own status.
"""

import re
from typing import NamedTuple

from phi3k_jobs.causes.replicas import disruption_of
from phi3k_jobs.objects.manifest import Manifest

KILLED = 137


class PodEnd(NamedTuple):
    """How a pod has ended as a whole."""

    cause: str
    action: str
    """What to do about it; empty if another attempt needs no change."""
    exit_code: int | None
    """137 if a trainer was killed with it; None if no trainer has run."""


_EVICTIONS = (
    (
        re.compile(r'EmptyDir volume "shm"'),
        "raise cluster.resources.shared_memory",
    ),
    (
        re.compile(r"exceed(s|ed) (the total limit|its local ephemeral storage limit|the limit)"),
        "raise cluster.resources.ephemeral_storage",
    ),
    (
        re.compile(r"low on resource: memory|MemoryPressure"),
        "the node ran out of memory: if it happens again, choose nodes with more memory with cluster.node_selector",
    ),
    (
        re.compile(r"low on resource: (ephemeral-storage|inodes)|DiskPressure"),
        "the node's disk was full: raise cluster.resources.ephemeral_storage to what the run writes, or choose nodes "
        "with larger disks",
    ),
)
_OTHER_NODES = (
    "another attempt may succeed; if the problem persists, ask the cluster's administrator to look at the node, or "
    "choose other nodes with cluster.node_selector"
)
_REFUSALS = (
    (
        re.compile("TopologyAffinityError"),
        "ask for what one NUMA node of the machine has (cluster.resources.cpu, cluster.gpus_per_node), or choose nodes "
        "whose topology manager is less strict with cluster.node_selector",
    ),
    (
        re.compile("NodeAffinity"),
        "correct cluster.node_selector: the node's labels have changed since the pod was placed",
    ),
    (re.compile("NodeShutdown"), "another attempt uses a node that does not shut down"),
    (re.compile("OutOf.+"), f"the node has less free than the scheduler assumed: {_OTHER_NODES}"),
    (re.compile("SMTAlignmentError"), "ask for an even number of CPUs with cluster.resources.cpu"),
    (
        re.compile("PodOSNotSupported|PodOSSelectorNodeLabelDoesNotMatch"),
        "choose Linux nodes with cluster.node_selector (kubernetes.io/os: linux)",
    ),
)
_ENDS = {
    "Preempting": "was stopped to make room for a critical pod of the node",
    "Terminated": "was stopped because its node shuts down",
    "Shutdown": "was stopped because its node shuts down",
    "NodeLost": "was lost with its node",
    "DeadlineExceeded": "ran longer than its pod's deadline",
}
_SHARED_GPUS = re.compile(r"maximum request size for shared resources is (?P<most>\d+)")


def end_of(pod: Manifest) -> PodEnd | None:
    """Return how the pod has ended as a whole; None if it has not, or if its containers' status reports it."""
    status = pod["status"]
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if status.get("phase") != "Failed":
        return None
    name, words = pod["metadata"]["name"], f": {message}" if message else ""
    if not reason:
        # The garbage collector leaves the pods of a removed node like this.
        disruption = disruption_of(pod)
        return PodEnd(f"{name} was evicted: {disruption}", "", KILLED) if disruption else None
    if reason == "Evicted":
        return PodEnd(f"{name} was evicted{words}", _first(_EVICTIONS, message), KILLED)
    if reason in _ENDS:
        return PodEnd(f"{name} {_ENDS[reason]}{words}", "", KILLED)
    cause = f"the node{_node_name(pod)} has refused {name} ({reason}){words}"
    if found := _SHARED_GPUS.search(message):
        return PodEnd(cause, f"ask for {found['most']} shared GPU a replica with cluster.gpus_per_node", None)
    for pattern, action in _REFUSALS:
        if pattern.fullmatch(reason):
            return PodEnd(cause, action, None)
    return PodEnd(cause, _OTHER_NODES, None)


def _node_name(pod: Manifest) -> str:
    name = pod.get("spec", {}).get("nodeName")
    return f" {name}" if name else ""


def _first(remedies: tuple[tuple[re.Pattern[str], str], ...], message: str) -> str:
    return next((action for pattern, action in remedies if pattern.search(message)), "")
