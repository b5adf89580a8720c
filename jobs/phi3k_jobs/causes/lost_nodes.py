"""Pods whose node does not answer: its kubelet no longer reports their state. Pure functions.

Read from the pods themselves, since a submitter may not read nodes.
"""

from datetime import datetime, timedelta

from phi3k_jobs.causes.replicas import conditions_of, disruption_of
from phi3k_jobs.objects.manifest import Manifest

# A kubelet that answers has removed a pod this long after its grace period.
_SILENCE = timedelta(minutes=1)
_NODE_REASONS = ("NodeStatusUnknown", "NodeNotReady", "NodeLost")


def lost_node(pod: Manifest, now: datetime) -> str | None:
    """Return in words that the pod's node does not answer; None if it answers, or nothing reports it."""
    phase = pod["status"].get("phase")
    if phase != "Unknown" and (phase != "Running" or not (_is_marked(pod) or _is_overdue(pod, now))):
        return None
    name = pod["metadata"]["name"]
    node = pod.get("spec", {}).get("nodeName")
    cause = f"the node {node} of {name} does not answer" if node else f"the node of {name} does not answer"
    if disruption := disruption_of(pod):
        cause += f", and the pod can't be removed before it does ({disruption})"
    return cause


def _is_marked(pod: Manifest) -> bool:
    """Return whether the node controller has marked the pod: not ready, though each container was by its kubelet."""
    ready = conditions_of(pod).get("Ready")
    if ready is None or ready["status"] == "True":
        return False
    if ready["status"] == "Unknown" or ready.get("reason") in _NODE_REASONS:
        return True
    containers = pod["status"].get("containerStatuses", [])
    are_ready = bool(containers) and all(status.get("ready") for status in containers)
    return are_ready and not ready.get("reason") and not pod["spec"].get("readinessGates")


def _is_overdue(pod: Manifest, now: datetime) -> bool:
    """Return whether the pod should have ended: the time of its deletion includes the grace period."""
    deletion = pod["metadata"].get("deletionTimestamp")
    return bool(deletion) and now > datetime.fromisoformat(deletion) + _SILENCE
