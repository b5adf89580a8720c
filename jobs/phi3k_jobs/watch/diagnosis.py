"""The state of a run, its cause in one sentence, and what to do. Pure functions of the facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from phi3k_jobs.causes import admission, scheduling
from phi3k_jobs.causes.claims import unbound
from phi3k_jobs.causes.endings import Ending, ending_of, last_checkpoint, most_informative, of_container
from phi3k_jobs.causes.lost_nodes import lost_node
from phi3k_jobs.causes.queueing import is_held, why_queued
from phi3k_jobs.causes.replicas import container_of, containers_of, disruption_of
from phi3k_jobs.causes.sidecars import end_beside_sidecars
from phi3k_jobs.causes.stalling import stall_of
from phi3k_jobs.causes.starting import obstacle_on_node, obstacle_to_container, obstacle_to_foreign_container
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.runs import FINISHED, Run
from phi3k_trainer.contract import DEADLINE_EXIT_CODE

# A scheduler that runs has looked at a pod by then.
SCHEDULER_PATIENCE = timedelta(minutes=1)
RESUMES = "it resumes from its last checkpoint by itself"
SUBMIT_AGAIN = "submit again: it resumes"


@dataclass(frozen=True)
class Facts:
    """What the cluster reports about a run."""

    run: Run
    pods: Sequence[Manifest] = ()
    events: Sequence[Manifest] = ()
    claims: Sequence[Manifest] = ()
    workloads: Sequence[Manifest] = ()
    made_job: Manifest | None = None
    """The Job that an operator has created for the run; None while the run has not ended."""
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
    """Return the answer of the first rule that applies: what ended the run, what it waits for, or how it runs."""
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
            checkpoint=last_checkpoint(facts.pods),
        )
    failure = _condition_message(facts.run.job, "Failed")
    failure_of_job = _condition_message(facts.made_job or {}, "Failed")
    if "DeadlineExceeded" in failure + failure_of_job or "longer than specified deadline" in failure:
        return Diagnosis(
            "Failed",
            "the deadline has passed",
            "set a later cluster.deadline and submit again: it resumes",
            exit_code=DEADLINE_EXIT_CODE,
        )
    ending = most_informative(filter(None, map(ending_of, facts.pods)))
    if ending is not None:
        return _ended(ending, "Failed")
    return Diagnosis(
        "Failed", failure or "the job failed and its pods are gone", "`phi3k logs --previous` may show more"
    )


def _suspended(facts: Facts) -> Diagnosis | None:
    if facts.run.state != "Suspended":
        return None
    if facts.workloads and not is_held(facts.workloads):
        cause, action = why_queued(facts.workloads[0])
        return Diagnosis("Queued", cause, action)
    return Diagnosis("Suspended", "somebody suspended the run", f"`phi3k resume {facts.run.name}` lets it continue")


def _outlived(facts: Facts) -> Diagnosis | None:
    """Report the end of a trainer that its job can't see, because a sidecar keeps the pod running."""
    end = end_beside_sidecars(facts.pods, facts.now)
    if end is None:
        return None
    still = f"{', '.join(end.sidecars)} in its pod still run{'' if len(end.sidecars) > 1 else 's'}"
    free = (
        f"`phi3k cancel {facts.run.name}` frees its nodes; to let pods end, keep the sidecar out of them or have the "
        "cluster inject it as an init container with restartPolicy Always"
    )
    if end.ended["exitCode"] == 0:
        checkpoint = last_checkpoint(facts.pods)
        return Diagnosis("Succeeded", f"the run has finished, but {still}", free, exit_code=0, checkpoint=checkpoint)
    ending = of_container(end.pod, end.ended)
    action = f"{ending.action}. {free}" if ending.action else free
    return Diagnosis("Failed", f"{ending.cause}, but {still}", action, ending.exit_code, ending.checkpoint)


def _lost_node(facts: Facts) -> Diagnosis | None:
    for pod in facts.pods:
        if lost := lost_node(pod, facts.now):
            return Diagnosis(
                "Stalled",
                lost,
                "wait until it answers, or have it removed from the cluster (`kubectl delete node`): the pod is then "
                "replaced, and the run resumes from its last checkpoint by itself",
            )
    return None


def _quota(facts: Facts) -> Diagnosis | None:
    for event in facts.events:
        if "exceeded quota" in event.get("message", "") and _misses_pods(facts):
            return Diagnosis("Pending", event["message"], "ask for less, or free part of the namespace's quota")
    return None


def _admission(facts: Facts) -> Diagnosis | None:
    for event in facts.events:
        if event.get("reason") in ("FailedCreate", "FailedCreatePod") and _misses_pods(facts):
            message = event["message"]
            return Diagnosis(
                "Pending", f"the cluster refuses its pods: {message}", admission.advice(message, facts.run.name)
            )
    return None


def _misses_pods(facts: Facts) -> bool:
    """Return whether a replica has no pod. A pod that was refused before may have been accepted since."""
    return len(facts.pods) < facts.run.nodes


def _claim(facts: Facts) -> Diagnosis | None:
    if any(map(_is_running, facts.pods)):
        return None
    for claim in facts.claims:
        if found := unbound(claim, facts.events):
            return Diagnosis("Pending", *found)
    return None


def _unschedulable(facts: Facts) -> Diagnosis | None:
    messages = [
        str(condition.get("message", "not yet tried"))
        for pod in facts.pods
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    if not messages:
        return None
    cause = f"{len(messages)} of {len(facts.pods)} pods find no node: {scheduling.lack_of(messages[0])}"
    return Diagnosis("Pending", cause, scheduling.advice(messages[0]))


def _unseen(facts: Facts) -> Diagnosis | None:
    """Report pods that no scheduler has looked at: it would have set a condition or a node."""
    for pod in facts.pods:
        age = facts.now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        own = pod["metadata"]["name"]
        is_seen = (
            pod["status"].get("conditions")
            or pod["spec"].get("nodeName")
            or any(event.get("involvedObject", {}).get("name") == own for event in facts.events)
        )
        if pod["status"]["phase"] == "Pending" and not is_seen and age > SCHEDULER_PATIENCE:
            name = pod["spec"].get("schedulerName", "default-scheduler")
            return Diagnosis(
                "Pending",
                f"the scheduler {name} has not looked at {own} for {age.total_seconds() // 60:.0f} min",
                f"ask the cluster's administrator whether {name} runs, or name another scheduler in "
                "cluster.pod.scheduler",
            )
    return None


def _container_waiting(facts: Facts) -> Diagnosis | None:
    for pod in facts.pods:
        for status in containers_of(pod):
            waiting = status.get("state", {}).get("waiting", {})
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if status["name"] == container_of(pod):
                found = obstacle_to_container(reason, message, status.get("image", ""))
            else:
                found = obstacle_to_foreign_container(reason, message, status["name"])
            if found:
                return Diagnosis("Pending", *found)
    return None


def _starting(facts: Facts) -> Diagnosis | None:
    if any(map(_is_running, facts.pods)):
        return None
    # Only the newest event of each object: what failed once may have worked since.
    newest = {event.get("involvedObject", {}).get("name"): event for event in facts.events}
    for event in newest.values():
        if found := obstacle_on_node(event.get("reason", ""), event.get("message", "")):
            return Diagnosis("Pending", *found)
    return None


_WAITING_RULES: tuple[Callable[[Facts], Diagnosis | None], ...] = (
    _suspended,
    _outlived,
    _lost_node,
    _container_waiting,
    _quota,
    _admission,
    _claim,
    _unschedulable,
    _starting,
    _unseen,
)


def _running(facts: Facts) -> Diagnosis:
    for pod in facts.pods:
        if stall := stall_of(pod, facts.events, facts.now):
            again = f"`phi3k suspend {facts.run.name}` and `phi3k resume {facts.run.name}`"
            action = f"look at its log; if it hangs, {again} restart it from its last checkpoint"
            return Diagnosis("Stalled", stall, action)
    for pod in facts.pods:
        if _is_running(pod) and (disruption := disruption_of(pod)):
            return Diagnosis("Restarting", f"{pod['metadata']['name']} is being evicted: {disruption}", RESUMES)
    running = sum(map(_is_running, facts.pods))
    finished = sum(pod["status"]["phase"] == "Succeeded" for pod in facts.pods)
    if facts.pods and running + finished == len(facts.pods):
        cause = f"{finished} of {len(facts.pods)} pods have finished" if finished else f"all {running} pods run"
        return Diagnosis("Running", cause, f"`phi3k logs -f {facts.run.name}` follows them")
    ending = most_informative(filter(None, map(ending_of, facts.pods)))
    if ending is not None:
        return _ended(ending, "Restarting")
    if not facts.pods:
        return Diagnosis(
            "Pending",
            "no pod has been created yet",
            "if the problem persists, check that the job's operator is running",
        )
    return Diagnosis("Pending", f"{running} of {len(facts.pods)} pods run, the rest are being started", "wait a moment")


def _is_running(pod: Manifest) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def _ended(ending: Ending, state: str) -> Diagnosis:
    """Add to an ending what happens next: the job makes another attempt, or none."""
    if state == "Failed":
        action = f"{ending.action}, then {SUBMIT_AGAIN}" if ending.action else SUBMIT_AGAIN
    else:
        action = f"{ending.action}; meanwhile its job retries" if ending.action else RESUMES
    return Diagnosis(state, ending.cause, action, ending.exit_code, ending.checkpoint)


def _condition_message(job: Manifest, wanted: str) -> str:
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] == wanted and condition["status"] == "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
