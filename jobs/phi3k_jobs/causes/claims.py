"""Why a claim has no volume, by its own events, and what to do about it. Pure functions."""

import re
from collections.abc import Sequence

from phi3k_jobs.objects.manifest import Manifest

# The volume is created after the pod has a node. Until then the cause is what keeps the pod from a node.
_WAITS_FOR_POD = ("WaitForFirstConsumer", "WaitForPodScheduled")
_REMEDIES = (
    (
        re.compile(r"storageclass\S* .*not found", re.I),
        "name a storage class that the cluster has, with storage_class of cluster.cache or cluster.runs",
    ),
    (
        re.compile(
            r"exceeded quota|quota exceeded|ResourceExhausted|out of (space|capacity)|not enough (space|free)", re.I
        ),
        "ask for a smaller claim with size of cluster.cache or cluster.runs, or for more storage",
    ),
    (
        re.compile(r"access ?mode|ReadWriteMany|MULTI_NODE", re.I),
        "name a storage class that offers the claim's access mode, or change access_modes of cluster.cache or "
        "cluster.runs",
    ),
    (
        re.compile(r"by the external provisioner", re.I),
        "wait: the storage provisioner creates it; if the problem persists, ask the cluster's administrator whether "
        "the provisioner runs",
    ),
)
_DEFAULT = "name a storage class that the cluster has, or ask for a volume"


def unbound(claim: Manifest, events: Sequence[Manifest]) -> tuple[str, str] | None:
    """Return why the claim has no volume, and what to do; None if it has one, or gets one with its pod.

    Args:
        claim: The claim as the cluster stores it.
        events: Events of the run and its claims, the newest last.
    """
    name, phase = claim["metadata"]["name"], claim.get("status", {}).get("phase")
    if claim["metadata"].get("deletionTimestamp"):
        return (
            f"the claim {name} is being deleted",
            "cancel the run, wait until the claim is gone, and submit again: that creates a new, empty claim",
        )
    if phase == "Lost":
        return (
            f"the claim {name} has lost its volume",
            "restore the volume, or delete the claim and submit again: that creates a new, empty claim",
        )
    if phase != "Pending":
        return None
    own = [event for event in events if event.get("involvedObject", {}).get("name") == name]
    if own and own[-1].get("reason") in _WAITS_FOR_POD:
        return None
    message = str(own[-1]["message"]) if own else "no provisioner has created one"
    action = next((action for pattern, action in _REMEDIES if pattern.search(message)), _DEFAULT)
    return f"the claim {name} has no volume: {message}", action
