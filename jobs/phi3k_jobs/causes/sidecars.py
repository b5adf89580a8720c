"""Trainers that have ended in pods where a container that the cluster has added still runs. Pure functions.

Such a pod never ends by itself, so its job never sees that the trainer has ended.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from phi3k_jobs.causes.replicas import container_of, termination
from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.contract import PERMANENT_EXIT_CODES

ENDED = ("Succeeded", "Failed")
# A sidecar that watches the trainer's end has ended by then.
_PATIENCE = timedelta(minutes=1)


class Outlived(NamedTuple):
    """A pod whose trainer has ended, and what still runs in it."""

    pod: Manifest
    ended: Manifest
    """How the trainer's container has ended."""
    sidecars: tuple[str, ...]


def outlived(pod: Manifest, now: datetime) -> Outlived | None:
    """Return the pod's end and its sidecars; None if its trainer runs, or nothing else does."""
    ended = termination(pod)
    if ended is None or pod["status"]["phase"] != "Running":
        return None
    own = container_of(pod)
    sidecars = tuple(
        status["name"]
        for status in pod["status"].get("containerStatuses", [])
        if status["name"] != own and "running" in status.get("state", {})
    )
    finished = ended.get("finishedAt")
    if not sidecars or (finished and now < datetime.fromisoformat(finished) + _PATIENCE):
        return None
    return Outlived(pod, ended, sidecars)


def end_beside_sidecars(pods: Sequence[Manifest], now: datetime) -> Outlived | None:
    """Return the end that decides the run; None if a trainer still runs, or no sidecar does.

    One permanent failure decides, as it fails the job. Otherwise all trainers must have ended, and the first failure
    decides.
    """
    found = [end for pod in pods if (end := outlived(pod, now))]
    permanent = [end for end in found if end.ended["exitCode"] in PERMANENT_EXIT_CODES]
    if permanent:
        return permanent[0]
    if not found or any(pod["status"]["phase"] not in ENDED and termination(pod) is None for pod in pods):
        return None
    return next((end for end in found if end.ended["exitCode"] != 0), found[0])
