"""Pods that the kubelet has refused or ended as a whole, which no container's status tells of. Pure.

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
    """What to do about it; empty where another attempt needs no change."""
    exit_code: int | None
    """137 where a trainer was killed with it; None where none has run."""


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
        "choose nodes with more memory with cluster.node_selector if it comes again: the node's ran out",
    ),
    (
        re.compile(r"low on resource: (ephemeral-storage|inodes)|DiskPressure"),
        "raise cluster.resources.ephemeral_storage to what the run writes, or choose nodes with more disk: the node's "
        "ran out",
    ),
)
_TRIED_AGAIN = "; if it stays so, ask who runs the cluster to look at the node, or choose others with "
_OTHER_NODES = f"another attempt may succeed{_TRIED_AGAIN}cluster.node_selector"
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
    (re.compile("NodeShutdown"), "another attempt finds a node that does not shut down"),
    (re.compile("OutOf.+"), f"the node has less than the scheduler took it to have: {_OTHER_NODES}"),
    (re.compile("SMTAlignmentError"), "ask for an even number of CPUs with cluster.resources.cpu"),
    (
        re.compile("PodOSNotSupported|PodOSSelectorNodeLabelDoesNotMatch"),
        "choose Linux nodes with cluster.node_selector (kubernetes.io/os: linux)",
    ),
)
_ENDS = {
    "Preempting": "was ended to make room for a critical pod of the node",
    "Terminated": "was ended because its node shuts down",
    "Shutdown": "was ended because its node shuts down",
    "NodeLost": "was lost with its node",
    "DeadlineExceeded": "ran longer than its pod may",
}
_SHARED_GPUS = re.compile(r"maximum request size for shared resources is (?P<most>\d+)")


def end_of(pod: Manifest) -> PodEnd | None:
    """Return how the pod has ended as a whole; None where it has not, or its containers' own status tells."""
    status = pod["status"]
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if status.get("phase") != "Failed":
        return None
    name, words = pod["metadata"]["name"], f": {message}" if message else ""
    if not reason:
        # As the garbage collector leaves the pods of a node that is gone.
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
