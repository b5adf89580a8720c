"""Why a run is where it is, in one sentence and with what to do. Pure: the facts come in, the answer goes out."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from phi3k_jobs.lifecycle import FINISHED, Run
from phi3k_jobs.manifest import Manifest
from phi3k_jobs.pods import container_status, termination
from phi3k_jobs.queueing import is_held, why_queued
from phi3k_jobs.stalling import stall_of

DEADLINE = 75
KILLED = 137
# The runtime could not start the program: the image lacks it, or it may not be run.
START_REASONS = ("StartError", "ContainerCannotRun", "RunContainerError")
# Behind its reason the scheduler says whom it won't put out for this pod.
PREEMPTION = re.compile(r"\. (?:no new claims to deallocate, )?preemption: ")
CREATION_REASONS = {
    "CreateContainerConfigError": "create what is missing",
    "CreateContainerError": "the node tries again; if it stays so, look at the node",
}
START_FAILURES = {
    "FailedMount": ("a volume can't be mounted", "look at the claims"),
    "FailedAttachVolume": ("a volume can't be mounted", "look at the claims"),
    "FailedCreatePodSandBox": ("the node can't make the pod", "look at the node, or keep the run from it"),
}
IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
FULL_DISK = 74
# How the scheduler calls a node that is cordoned, as for a drain.
CORDONED = "were unschedulable"


@dataclass(frozen=True)
class Facts:
    """What the cluster says about a run."""

    run: Run
    pods: Sequence[Manifest] = ()
    events: Sequence[Manifest] = ()
    claims: Sequence[Manifest] = ()
    workloads: Sequence[Manifest] = ()
    workers: Manifest | None = None
    """The Job that a TrainJob has made, where the run has ended."""
    now: datetime = field(default_factory=partial(datetime.now, UTC))


@dataclass(frozen=True)
class Diagnosis:
    """The state of a run, why, and what to do."""

    state: str
    cause: str
    action: str = ""
    exit_code: int | None = None
    checkpoint: str | None = None


def diagnose(facts: Facts) -> Diagnosis:
    """Return the first rule's answer that applies: what ended the run, else what it waits for, else how it goes."""
    if facts.run.state in FINISHED:
        return _finished(facts)
    for rule in _WAITING_RULES:
        found = rule(facts)
        if found is not None:
            return found
    return _running(facts)


def _finished(facts: Facts) -> Diagnosis:
    if facts.run.state == "Succeeded":
        return Diagnosis(
            "Succeeded",
            "the run has finished",
            "`phi3k logs` shows how it went",
            exit_code=0,
            checkpoint=_last_checkpoint(facts.pods),
        )
    failure = _condition_message(facts.run.job, "Failed")
    workers = _condition_message(facts.workers or {}, "Failed")
    if "DeadlineExceeded" in failure + workers or "longer than specified deadline" in failure:
        return Diagnosis(
            "Failed",
            "the deadline has passed",
            "set a later cluster.deadline and submit again: it resumes",
            exit_code=DEADLINE,
        )
    for pod in facts.pods:
        ended = _terminated(pod)
        if ended is not None and ended["exitCode"] != 0:
            return _from_exit(pod, ended, state="Failed")
    return Diagnosis(
        "Failed", failure or "the job failed and its pods are gone", "`phi3k logs --previous` may tell more"
    )


def _suspended(facts: Facts) -> Diagnosis | None:
    if facts.run.state != "Suspended":
        return None
    if facts.workloads and not is_held(facts.workloads):
        cause, action = why_queued(facts.workloads[0])
        return Diagnosis("Queued", cause, action)
    return Diagnosis("Suspended", "somebody suspended the run", f"`phi3k resume {facts.run.name}` lets it go on")


def _quota(facts: Facts) -> Diagnosis | None:
    for event in facts.events:
        if "exceeded quota" in event.get("message", ""):
            return Diagnosis("Pending", event["message"], "ask for less, or free some of the namespace's quota")
    return None


def _admission(facts: Facts) -> Diagnosis | None:
    for event in facts.events:
        if event.get("reason") in ("FailedCreate", "FailedCreatePod") and not facts.pods:
            return Diagnosis("Pending", f"the cluster refuses its pods: {event['message']}", "mend what it names")
    return None


def _claim(facts: Facts) -> Diagnosis | None:
    for claim in facts.claims:
        if claim.get("status", {}).get("phase") == "Pending" and not any(map(_is_running, facts.pods)):
            name = claim["metadata"]["name"]
            return Diagnosis(
                "Pending",
                f"the claim {name} has no volume: {_claim_event(facts, name)}",
                "name a storage class that the cluster has, or ask for a volume",
            )
    return None


def _claim_event(facts: Facts, name: str) -> str:
    messages = [event["message"] for event in facts.events if event.get("involvedObject", {}).get("name") == name]
    return messages[-1] if messages else "nothing provides it"


def _unschedulable(facts: Facts) -> Diagnosis | None:
    reasons = [
        str(condition.get("message", "not yet tried"))
        for pod in facts.pods
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    if not reasons:
        return None
    reason = PREEMPTION.split(reasons[0])[0]
    action = "wait for others to finish, or ask for less with --gpus"
    if CORDONED in reason:
        action = "`kubectl get nodes` shows the cordoned node: uncordon it, or wait for another"
    return Diagnosis("Pending", f"{len(reasons)} of {len(facts.pods)} pods find no node: {reason}", action)


def _container_waiting(facts: Facts) -> Diagnosis | None:
    for pod in facts.pods:
        status = container_status(pod)
        waiting = status.get("state", {}).get("waiting", {})
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in IMAGE_REASONS:
            return Diagnosis(
                "Pending",
                f"the image {status['image']} can't be pulled: {message or reason}",
                "mend cluster.image, or name its registry's secret in cluster.image_pull_secrets",
            )
        if reason in CREATION_REASONS:
            return Diagnosis("Pending", f"the container can't be made: {message}", CREATION_REASONS[reason])
    return None


def _starting(facts: Facts) -> Diagnosis | None:
    if any(map(_is_running, facts.pods)):
        return None
    # Of each object the newest event: what failed once may have worked since.
    newest = {event.get("involvedObject", {}).get("name"): event for event in facts.events}
    for event in newest.values():
        if event.get("reason") in START_FAILURES:
            what, action = START_FAILURES[event["reason"]]
            return Diagnosis("Pending", f"{what}: {event['message']}", action)
    return None


_WAITING_RULES: tuple[Callable[[Facts], Diagnosis | None], ...] = (
    _suspended,
    _container_waiting,
    _quota,
    _admission,
    _claim,
    _unschedulable,
    _starting,
)


def _running(facts: Facts) -> Diagnosis:
    for pod in facts.pods:
        if stall := stall_of(pod, facts.events, facts.now):
            again = f"`phi3k suspend {facts.run.name}` and `phi3k resume {facts.run.name}`"
            action = f"look at its log; if it hangs, {again} start it again from its last checkpoint"
            return Diagnosis("Stalled", stall, action)
    running = sum(map(_is_running, facts.pods))
    finished = sum(pod["status"]["phase"] == "Succeeded" for pod in facts.pods)
    if facts.pods and running + finished == len(facts.pods):
        cause = f"{finished} of {len(facts.pods)} pods have finished" if finished else f"all {running} pods run"
        return Diagnosis("Running", cause, f"`phi3k logs -f {facts.run.name}` follows them")
    for pod in facts.pods:
        ended = _terminated(pod)
        if ended is not None and ended["exitCode"] != 0:
            return _from_exit(pod, ended, state="Restarting")
    if not facts.pods:
        return Diagnosis("Pending", "no pod has been made yet", "if it stays so, the job's operator may not be running")
    return Diagnosis("Pending", f"{running} of {len(facts.pods)} pods run, the rest are being started", "wait a moment")


def _is_running(pod: Manifest) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def _terminated(pod: Manifest) -> Manifest | None:
    """Return how the trainer's container ended last, if it did; an evicted pod says so in its own status."""
    if ended := termination(pod):
        return ended
    if pod["status"].get("reason") == "Evicted":
        return {"exitCode": KILLED, "reason": "Evicted", "message": pod["status"].get("message", "")}
    return None


def _from_exit(pod: Manifest, ended: Manifest, *, state: str) -> Diagnosis:
    """Read the entry point's termination message, or what the kubelet says where there is none."""
    name, code, reason = pod["metadata"]["name"], ended["exitCode"], ended.get("reason", "")
    message = ended.get("message", "")
    outcome = told(message)
    checkpoint = outcome.get("checkpoint")
    goes_on = "it goes on from the last checkpoint by itself" if state == "Restarting" else "submit again: it resumes"
    if reason == "OOMKilled":
        return Diagnosis(
            state,
            f"{name} used more memory than it may (OOMKilled)",
            "raise cluster.resources.memory",
            code,
            checkpoint,
        )
    if reason in START_REASONS:
        return Diagnosis(state, f"{name} can't be started: {message}", "mend cluster.image: it is no phi3k image", code)
    if reason == "Evicted" or "DisruptionTarget" in _pod_conditions(pod):
        return Diagnosis(state, f"{name} was evicted: {_disruption(pod) or message}", goes_on, code, checkpoint)
    if outcome:
        action = goes_on if code >= 128 else "mend what it names, then submit again"
        if code == FULL_DISK and (claim := _claim_named(pod, outcome["message"])):
            action = f"make room in the claim {claim}, or give the run a larger one, then submit again: it resumes"
        return Diagnosis(state, f"{name} ended with {code}: {outcome['message']}", action, code, checkpoint)
    if code >= 128:
        return Diagnosis(state, f"{name} was killed by signal {code - 128}", goes_on, code)
    last = re.sub(r"\s+", " ", message)[-300:] or reason
    return Diagnosis(state, f"{name} ended with {code}: {last}", "`phi3k logs --previous` shows its last words", code)


def _last_checkpoint(pods: Sequence[Manifest]) -> str | None:
    """Return the checkpoint that a pod's termination message names, None where no pod is left or says so."""
    messages = (str((_terminated(pod) or {}).get("message", "")) for pod in pods)
    return next((outcome["checkpoint"] for outcome in map(told, messages) if "checkpoint" in outcome), None)


def _claim_named(pod: Manifest, message: str) -> str | None:
    """Return the claim whose mount a message names a path in."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    mounts = (mount for container in pod["spec"]["containers"] for mount in container.get("volumeMounts", []))
    for mount in mounts:
        claim = volumes.get(mount["name"], {}).get("persistentVolumeClaim")
        if claim and f"{mount['mountPath']}/" in message:
            return str(claim["claimName"])
    return None


def told(message: str) -> Manifest:
    """Return the outcome in a termination message: the JSON object in its last line, empty where there is none."""
    try:
        outcome = json.loads(message.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return outcome if isinstance(outcome, dict) and "message" in outcome else {}


def _pod_conditions(pod: Manifest) -> set[str]:
    return {entry["type"] for entry in pod["status"].get("conditions", []) if entry["status"] == "True"}


def _disruption(pod: Manifest) -> str:
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "DisruptionTarget":
            return str(condition.get("message") or condition.get("reason", ""))
    return ""


def _condition_message(job: Manifest, wanted: str) -> str:
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] == wanted and condition["status"] == "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
