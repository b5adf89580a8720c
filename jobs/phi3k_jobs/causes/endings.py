"""How a trainer's pod has ended, by its container's status or its own, and what to do about it. Pure functions."""

import json
import re
import signal
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phi3k_jobs.causes.kubelet import end_of
from phi3k_jobs.causes.replicas import disruption_of, termination
from phi3k_jobs.causes.starting import failed_start
from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.contract import (
    DATA_EXIT_CODE,
    MEMORY_EXCEEDED,
    MISSING_INPUT_EXIT_CODE,
    OUTPUT_EXIT_CODE,
    PERMANENT_EXIT_CODES,
    PERMISSION_EXIT_CODE,
    RECIPE_EXIT_CODE,
    SIGNAL_EXIT_CODE_BASE,
    STORAGE_EXIT_CODE,
    UNAVAILABLE_EXIT_CODE,
    UNEXPLAINED_EXIT_CODE,
    USAGE_EXIT_CODE,
)

# The runtime could not start the program: the image does not have it, the node's runtime fails, or it is not
# executable.
START_REASONS = ("StartError", "ContainerCannotRun", "RunContainerError")
_NO_ROOM = re.compile(r"disk is full|no space left|quota exceeded|larger than the file size limit", re.I)
_READ_ONLY = re.compile(r"read-only file system", re.I)
_FORBIDDEN = re.compile(r"permission denied|operation not permitted", re.I)
# What the user can correct, by the exit code; the message names the place.
_CORRECTIONS = {
    USAGE_EXIT_CODE: "correct the arguments that the message names",
    DATA_EXIT_CODE: "correct the data, or the section `data` of the recipe",
    MISSING_INPUT_EXIT_CODE: "provide what the message names, or name another in the recipe",
    UNAVAILABLE_EXIT_CODE: "wait until the service that the message names answers, or name another in the recipe",
    OUTPUT_EXIT_CODE: "submit under another name with --name, or remove what is in the way",
    PERMISSION_EXIT_CODE: "get the permission that the message names",
    RECIPE_EXIT_CODE: "correct the recipe",
}


class Ending(NamedTuple):
    """How a pod has ended."""

    cause: str
    action: str
    """What to do first; empty if another attempt needs no change."""
    exit_code: int | None
    checkpoint: str | None = None


def ending_of(pod: Manifest) -> Ending | None:
    """Return how the pod has ended; None if it has not ended, or has succeeded."""
    ended = termination(pod)
    if ended is None:
        whole = end_of(pod)
        return Ending(*whole) if whole else None
    return of_container(pod, ended) if ended["exitCode"] != 0 else None


def most_informative(endings: Iterable[Ending]) -> Ending | None:
    """Return the ending that decides the run: a permanent error, else one that explains more than a lost peer."""
    found = list(endings)
    ranked = sorted(found, key=lambda ending: (ending.exit_code not in PERMANENT_EXIT_CODES, _is_a_lost_peer(ending)))
    return ranked[0] if ranked else None


def _is_a_lost_peer(ending: Ending) -> bool:
    return ending.exit_code == UNEXPLAINED_EXIT_CODE


def of_container(pod: Manifest, ended: Manifest) -> Ending:
    """Read the entry point's termination message, or what the kubelet reports if there is none."""
    name, code, reason = pod["metadata"]["name"], ended["exitCode"], ended.get("reason", "")
    message = ended.get("message", "")
    outcome = outcome_in(message)
    checkpoint = outcome.get("checkpoint")
    # The reason is OOMKilled even if the kernel killed one process and the entry point continued. Then its own message
    # explains more.
    if reason == "OOMKilled" and not (outcome and code != SIGNAL_EXIT_CODE_BASE + signal.SIGKILL):
        cause = f"{name} used more memory than its limit (OOMKilled)"
        return Ending(cause, "raise cluster.resources.memory", code, checkpoint)
    if reason in START_REASONS:
        return Ending(f"{name} can't be started: {message}", failed_start(message), code)
    whole = end_of(pod)
    if whole is not None:
        return Ending(whole.cause, whole.action, code, checkpoint)
    if disruption := disruption_of(pod):
        return Ending(f"{name} was evicted: {disruption}", "", code, checkpoint)
    if outcome:
        action = _correction(pod, code, str(outcome["message"]))
        return Ending(f"{name} ended with {code}: {outcome['message']}", action, code, checkpoint)
    if code >= SIGNAL_EXIT_CODE_BASE:
        return Ending(f"{name} was killed by signal {code - SIGNAL_EXIT_CODE_BASE}", "", code)
    last = re.sub(r"\s+", " ", message)[-300:] or reason
    return Ending(f"{name} ended with {code}: {last}", "`phi3k logs --previous` shows its last lines", code)


def _correction(pod: Manifest, code: int, message: str) -> str:
    """Return what to correct after the entry point's own message."""
    if code == STORAGE_EXIT_CODE:
        return _storage(pod, message)
    if MEMORY_EXCEEDED in message:
        return "raise cluster.resources.memory"
    if code in _CORRECTIONS:
        return _CORRECTIONS[code]
    return "" if code >= SIGNAL_EXIT_CODE_BASE else "`phi3k logs` shows the lines before it"


def _storage(pod: Manifest, message: str) -> str:
    """Return what to do about a path that can't be written, by the volume that holds it."""
    volume = _volume_named(pod, message)
    claim = volume.get("persistentVolumeClaim", {}).get("claimName")
    where = f"the claim {claim}" if claim else "that place"
    if _FORBIDDEN.search(message):
        return (
            f"let the pod's user or group (cluster.pod.user, cluster.pod.group) write in {where}, or add the group of "
            "its files to cluster.pod.supplemental_groups: this storage does not change the group of its files"
        )
    if _READ_ONLY.search(message):
        return f"make {where} writable: its volume is mounted read-only, or became read-only after an error"
    if not _NO_ROOM.search(message):
        return f"check the storage of {where}: it has failed"
    if claim:
        return f"free space in the claim {claim}, or give the run a larger one"
    if volume.get("emptyDir", {}).get("medium") == "Memory":
        return "raise cluster.resources.shared_memory"
    return "raise cluster.resources.ephemeral_storage"


def _volume_named(pod: Manifest, message: str) -> Manifest:
    """Return the volume that holds the first path in a message, empty if none does."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    places: list[tuple[int, Manifest]] = []
    for container in pod["spec"]["containers"]:
        for mount in container.get("volumeMounts", []):
            found = re.search(rf"(?<![\w/.-]){re.escape(mount['mountPath'])}(?![\w.-])", message)
            if found and mount["name"] in volumes:
                places.append((found.start(), volumes[mount["name"]]))
    return min(places, key=lambda place: place[0])[1] if places else {}


def last_checkpoint(pods: Sequence[Manifest]) -> str | None:
    """Return the checkpoint that a pod's termination message names, None if no pod is left or names one."""
    messages = (str((termination(pod) or {}).get("message", "")) for pod in pods)
    return next((outcome["checkpoint"] for outcome in map(outcome_in, messages) if "checkpoint" in outcome), None)


def outcome_in(message: str) -> Manifest:
    """Return the outcome in a termination message: the JSON object in its last line, empty if there is none."""
    try:
        outcome = json.loads(message.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return outcome if isinstance(outcome, dict) and "message" in outcome else {}
