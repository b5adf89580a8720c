"""Pods that run without progress, as their readiness probe reports in the kubelet's events. Pure functions."""

from collections.abc import Iterable
from datetime import datetime

from phi3k_jobs.causes.replicas import container_status
from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.contract import read_complaint


def is_unready(pod: Manifest) -> bool:
    """Return whether the trainer's container runs and its probe reports no progress."""
    status = container_status(pod)
    return "running" in status.get("state", {}) and not status.get("ready", True)


def stall_of(pod: Manifest, events: Iterable[Manifest], now: datetime) -> str | None:
    """Return since when and where the pod's process makes no progress; None if it does, or nothing reports it."""
    if not is_unready(pod):
        return None
    name = pod["metadata"]["name"]
    own = (event["message"] for event in events if event.get("involvedObject", {}).get("name") == name)
    complaints = [found for found in map(read_complaint, own) if found]
    if not complaints:
        return None
    since = datetime.fromisoformat(complaints[-1].since)
    hours, minutes = divmod(int((now - since).total_seconds() // 60), 60)
    silence = f"{hours} h" if hours else f"{minutes} min"
    return f"{name} has made no progress for {silence}: {complaints[-1].where}"
