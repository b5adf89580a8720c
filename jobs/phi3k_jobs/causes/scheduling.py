"""Why the scheduler finds no node for a pod, and what to do about each reason in its message. Pure functions.

The message is that of kube-scheduler (pkg/scheduler/framework/types.go, FitError; seen in 1.28 to 1.34): how many nodes
there are, then the reasons, each after the number of nodes that it rules out, then the result of preemption.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

# After its reasons the scheduler says why preemption does not help.
_PREEMPTION = re.compile(r"\. (?:no new claims to deallocate, )?preemption: ")
_REASONS = re.compile(r"\d+/\d+ nodes are available: (?P<reasons>.*)", re.DOTALL)
_COUNTED = re.compile(r"(\d+) (.+?)(?=, \d+ |$)", re.DOTALL)

_CORDONED = "`kubectl get nodes` shows the cordoned node: uncordon it, or wait for another"
_UNWELL = "`kubectl get nodes` shows the unhealthy node: wait until it is repaired, or for another"
_LEAVING = "the autoscaler removes those nodes: wait for another"
_ASK_LESS = "wait for other pods to finish, or ask for less with"
_FIELDS = {"cpu": "cluster.resources.cpu", "memory": "cluster.resources.memory"}
_FIELDS["ephemeral-storage"] = "cluster.resources.ephemeral_storage"
# nvidia.com/gpu, nvidia.com/mig-3g.40gb, amd.com/gpu, gpu.intel.com/i915.
_GPUS = re.compile(r"gpu|/mig-")
# Taints that Kubernetes and autoscalers set themselves, each with what to do.
_TAINTS_OF_SYSTEM = (
    (re.compile(r"node\.kubernetes\.io/unschedulable"), _CORDONED),
    (re.compile(r"node\.(cloudprovider\.)?kubernetes\.io/.+"), _UNWELL),
    (re.compile(r"(ToBeDeletedBy|DeletionCandidateOf)ClusterAutoscaler|karpenter\.sh/disrupt(ed|ion)"), _LEAVING),
)
_CONTROL_PLANE = re.compile(r"node-role\.kubernetes\.io/(control-plane|master)")
_CLAIMS = "cluster.cache.claim or cluster.runs.claim"


class Remedy(NamedTuple):
    """What to do about one reason."""

    action: str
    is_meant: bool = False
    """Whether nodes are ruled out on purpose, so that the reasons of the other nodes count."""


@dataclass(frozen=True)
class Reason:
    """One reason in the scheduler's message."""

    nodes: int | None
    """How many nodes it rules out; None: it concerns the pod, not a node."""
    text: str


def lack_of(message: str) -> str:
    """Return what a pod lacks, without the result of preemption."""
    return _PREEMPTION.split(message)[0]


def reasons(message: str) -> list[Reason]:
    """Return the reasons in a message, in its order."""
    lack = lack_of(message).rstrip(".")
    found = _REASONS.fullmatch(lack)
    counted = [Reason(int(nodes), text) for nodes, text in _COUNTED.findall(found["reasons"] if found else "")]
    return counted or [Reason(None, found["reasons"] if found else lack)]


def advice(message: str) -> str:
    """Return what to do about a message: what the recipe can change comes before what needs waiting.

    Each reason rules out nodes of its own, so correcting any of them helps.
    """
    remedies: dict[Remedy, int] = {}
    for reason in reasons(message):
        remedy = _remedy(reason.text)
        remedies[remedy] = remedies.get(remedy, 0) + (reason.nodes or 1)
    counting = [remedy for remedy in remedies if not remedy.is_meant] or list(remedies)
    ordered = sorted(counting, key=lambda remedy: (_ASK_LESS in remedy.action, -remedies[remedy]))
    return "; or ".join(dict.fromkeys(remedy.action for remedy in ordered))


def _remedy(reason: str) -> Remedy:
    for pattern, remedy in _REMEDIES:
        if found := pattern.search(reason):
            return remedy(found) if callable(remedy) else remedy
    return Remedy(
        "the recipe can't change that: `kubectl describe pod` shows more, and the cluster's administrator can help"
    )


def _of_resource(found: re.Match[str]) -> Remedy:
    resource = found["resource"]
    if resource in _FIELDS:
        return Remedy(f"{_ASK_LESS} {_FIELDS[resource]}")
    if _GPUS.search(resource):
        return Remedy(f"{_ASK_LESS} --gpus")
    return Remedy(f"{_ASK_LESS} cluster.pod.extra_resources, or --gpus where cluster.gpu_resource is {resource}")


def _of_taint(found: re.Match[str]) -> Remedy:
    key, value = found["key"].strip(), (found["value"] or "").strip()
    if _CONTROL_PLANE.fullmatch(key):
        return Remedy("those nodes run the control plane: wait for another node", is_meant=True)
    for pattern, action in _TAINTS_OF_SYSTEM:
        if pattern.fullmatch(key):
            return Remedy(action)
    toleration = f"{{key: {key}, operator: Equal, value: {value}}}" if value else f"{{key: {key}, operator: Exists}}"
    return Remedy(f"add {toleration} to cluster.tolerations if the run may use the nodes with that taint")


# In this order; the words are those of the scheduler's plugins (pkg/scheduler/framework/plugins).
_REMEDIES: tuple[tuple[re.Pattern[str], Remedy | Callable[[re.Match[str]], Remedy]], ...] = (
    (
        re.compile(r"Too many pods|Insufficient pods"),
        Remedy("wait for other pods to finish: the nodes are full of pods"),
    ),
    (re.compile(r"Insufficient (?P<resource>\S+)"), _of_resource),
    (re.compile(r"had (?:untolerated )?taint \{(?P<key>[^:}]+)(?::(?P<value>[^}]*))?\}"), _of_taint),
    (
        re.compile(r"had (untolerated )?taint"),
        Remedy("add the taints that the run tolerates to cluster.tolerations: `kubectl describe nodes` shows them"),
    ),
    (re.compile(r"were unschedulable"), Remedy(_CORDONED)),
    (re.compile(r"had unknown conditions|not ready|(disk|memory|PID) pressure"), Remedy(_UNWELL)),
    (
        re.compile(
            r"match (Pod's|scheduler-enforced) node affinity|match node selector|plugin\(s\) \[[^]]*NodeAffinity"
        ),
        Remedy(
            "correct cluster.node_selector and cluster.pod.affinity, or wait for a node with those labels: `kubectl "
            "get nodes --show-labels` shows the labels",
            is_meant=True,
        ),
    ),
    (
        re.compile(r"didn't match pod affinity rules"),
        Remedy(
            "wait until one value of cluster.topology has room for all replicas, or set cluster.topology to null; "
            "where cluster.pod.affinity has a podAffinity, correct that"
        ),
    ),
    (
        re.compile(r"anti-affinity rules"),
        Remedy(
            "wait for the pods whose anti-affinity keeps others away, or choose other nodes with cluster.node_selector"
        ),
    ),
    (
        re.compile(r"topology spread constraints"),
        Remedy("a policy of the cluster spreads pods: wait for room, or ask the cluster's administrator to change it"),
    ),
    (
        re.compile(r"volume node affinity conflict|PersistentVolume's node affinity|no available volume zone"),
        Remedy(
            f"the volume of {_CLAIMS} is in another zone: choose nodes there with cluster.node_selector "
            "(topology.kubernetes.io/zone), or name claims whose volumes these nodes can mount"
        ),
    ),
    (
        re.compile(r"unbound immediate PersistentVolumeClaims|persistent volumes to bind|enough free storage"),
        Remedy(f"`kubectl describe pvc` shows why {_CLAIMS} has no volume: name a storage class that provides one"),
    ),
    (
        re.compile(r"non-existent (pv|persistentvolume)|persistentvolumeclaim .* not found|is being deleted", re.I),
        Remedy(f"{_CLAIMS}, or its volume, is gone: cancel the run and submit it again, which creates the claim again"),
    ),
    (
        re.compile(r"no available disk"),
        Remedy("wait for the pod that uses the same disk, or name claims of the run's own"),
    ),
    (
        re.compile(r"ReadWriteOncePod"),
        Remedy("another pod uses the claim, which allows only one: wait for it, or name a claim with ReadWriteMany"),
    ),
    (
        re.compile(r"didn't have free ports"),
        Remedy("another pod on those nodes uses the port: wait for it, or set cluster.pod.host_network to false"),
    ),
    (
        re.compile(r"cannot allocate all claims|resourceclaim", re.I),
        Remedy(
            "wait for other pods to finish, or correct cluster.pod.resource_claims: `kubectl describe resourceclaim`"
        ),
    ),
    (
        re.compile(r"max volume count"),
        Remedy("wait for other pods to finish: those nodes have as many volumes as they can attach"),
    ),
    (
        re.compile(r"scheduling gates"),
        Remedy(
            "wait: a controller holds the pods back (Kueue does so until there is room). If the problem persists, "
            "`kubectl describe pod` names the gate: ask the administrator of that controller"
        ),
    ),
    (
        re.compile(r"no nodes available to schedule pods"),
        Remedy("wait for a node: the cluster has none now"),
    ),
)
