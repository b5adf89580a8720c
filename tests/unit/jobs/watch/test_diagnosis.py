"""One sentence from the facts, for causes that a healthy test cluster does not show."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from phi3k_jobs.causes.replicas import current_pods
from phi3k_jobs.watch.diagnosis import Diagnosis, Facts, diagnose
from tests.unit.jobs.making import ended, pod, run


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (137, "OOMKilled", "OOMKilled"),
        (137, "Error", "killed by signal 9"),
        (128, "StartError", "can't be started"),
        (1, "Error", "ended with 1"),
    ],
)
def test_how_a_container_ended(code: int, reason: str, words: str) -> None:
    failed = pod("demo-0", "Failed", containerStatuses=ended(code, reason=reason, message="m"))
    found = diagnose(Facts(run("Failed"), [failed]))
    assert words in found.cause
    assert found.exit_code == code


def test_what_the_entry_point_says_after_a_process_lost_its_memory_comes_before_the_runtimes_reason() -> None:
    said = json.dumps({"exit_code": 78, "message": "this recipe needs about 1.1 GiB on each device, which has 0.6"})
    failed = pod("demo-0", "Failed", containerStatuses=ended(78, reason="OOMKilled", message=said))
    found = diagnose(Facts(run("Failed"), [failed]))
    assert "needs about 1.1 GiB" in found.cause
    assert "correct the recipe" in found.action


def queued(*conditions: tuple[str, str, str], active: bool = True) -> Diagnosis:
    """The diagnosis of a suspended run of the queue `team`, from Kueue's conditions: type, status, message."""
    stated = [{"type": kind, "status": status, "message": message} for kind, status, message in conditions]
    workload = {"spec": {"queueName": "team", "active": active}, "status": {"conditions": stated}}
    return diagnose(Facts(run("Suspended"), workloads=[workload]))


NO_QUOTA = ("QuotaReserved", "False", "insufficient unused quota for cpu")


def test_what_kueue_says_comes_before_that_somebody_suspended_it() -> None:
    found = queued(NO_QUOTA)
    assert found.state == "Queued"
    assert "in the queue team: insufficient unused quota" in found.cause


def test_a_run_that_kueue_has_not_looked_at_is_queued_too() -> None:
    assert queued().state == "Queued"


def test_quota_without_admission_waits_for_the_queues_checks() -> None:
    assert "admission checks" in queued(("QuotaReserved", "True", "Quota reserved in ClusterQueue team")).cause


def test_a_preempted_run_goes_on_from_its_checkpoint() -> None:
    found = queued(NO_QUOTA, ("Preempted", "True", "Preempted to accommodate a workload"))
    assert "preempted" in found.cause
    assert "insufficient unused quota" in found.cause
    assert "checkpoint" in found.action


def test_a_run_that_somebody_holds_back_in_its_queue_is_suspended() -> None:
    found = queued(NO_QUOTA, active=False)
    assert found.state == "Suspended"
    assert "phi3k resume demo" in found.action


def test_no_pod_and_no_event_points_at_the_operator() -> None:
    assert "operator" in diagnose(Facts(run("Pending"))).action


def test_of_each_rank_the_newest_pod_counts() -> None:
    old = pod("demo-0-a", "Failed", "2026-01-01T00:00:00Z")
    new = pod("demo-0-b", "Running", "2026-01-01T00:01:00Z")
    other = pod("demo-1-c", "Running", "2026-01-01T00:00:00Z", rank=1)
    assert [entry["metadata"]["name"] for entry in current_pods([other, new, old])] == ["demo-0-b", "demo-1-c"]


def test_a_message_that_is_no_json_is_told_as_it_is() -> None:
    failed = pod("demo-0", "Failed", containerStatuses=ended(1, reason="Error", message="Traceback\n  boom"))
    assert "Traceback boom" in diagnose(Facts(run("Failed"), [failed])).cause


def test_a_run_that_succeeded_names_its_last_checkpoint() -> None:
    told = json.dumps({"exit_code": 0, "message": "done", "step": 3, "checkpoint": "/runs/demo/checkpoints/step-3"})
    done = pod("demo-0", "Succeeded", containerStatuses=ended(0, reason="Completed", message=told))
    assert diagnose(Facts(run("Succeeded"), [done])).checkpoint == "/runs/demo/checkpoints/step-3"
    assert diagnose(Facts(run("Succeeded"))).checkpoint is None


def test_pods_that_have_finished_before_the_job_says_so_are_not_being_started() -> None:
    done, other = pod("demo-0", "Succeeded"), pod("demo-1", "Running", rank=1)
    for pods, cause in (([done, other], "1 of 2 pods have finished"), ([done], "1 of 1 pods have finished")):
        found = diagnose(Facts(run("Running"), pods))
        assert (found.state, found.cause) == ("Running", cause)


def test_a_node_that_cannot_make_the_pod_is_named_until_it_can() -> None:
    failed = {"reason": "FailedCreatePodSandBox", "message": "no pause image", "involvedObject": {"name": "demo-0"}}
    pulling = {"reason": "Pulling", "message": "Pulling image", "involvedObject": {"name": "demo-0"}}
    waiting = pod("demo-0", "Pending")
    assert "can't create the pod: no pause image" in diagnose(Facts(run("Pending"), [waiting], [failed])).cause
    assert "being started" in diagnose(Facts(run("Pending"), [waiting], [failed, pulling])).cause


def test_a_cordoned_node_is_named_as_what_the_run_waits_for() -> None:
    message = "0/1 nodes are available: 1 node(s) were unschedulable."
    waiting = pod("demo-0", "Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    found = diagnose(Facts(run("Pending"), [waiting]))
    assert message in found.cause
    assert "uncordon it" in found.action


def test_only_pods_without_a_node_are_counted_and_only_what_they_lack_is_told() -> None:
    lack = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    message = f"{lack}. no new claims to deallocate, preemption: {lack}."
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    placed = pod("demo-0", "Pending", conditions=[{"type": "PodScheduled", "status": "True"}])
    unplaced = pod("demo-1", "Pending", rank=1, conditions=[condition])
    assert diagnose(Facts(run("Pending"), [placed, unplaced])).cause == f"1 of 2 pods find no node: {lack}"


def test_a_pod_that_no_scheduler_has_looked_at_names_the_scheduler() -> None:
    waiting = pod("demo-0", "Pending")
    waiting["spec"]["schedulerName"] = "volcano"
    created = datetime(2026, 1, 1, tzinfo=UTC)
    facts = Facts(run("Pending"), [waiting], now=created + timedelta(minutes=5))
    assert "the scheduler volcano has not looked at demo-0 for 5 min" in diagnose(facts).cause
    assert "cluster.pod.scheduler" in diagnose(facts).action
    assert "being started" in diagnose(replace(facts, now=created + timedelta(seconds=30))).cause


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("FailedCreate", "exceeded quota: team"),
        ("FailedCreate", "denied the request"),
        ("FailedCreatePod", "forbidden"),
    ],
)
def test_a_refusal_of_pods_is_named_as_long_as_a_replica_has_none(reason: str, message: str) -> None:
    refused = {"reason": reason, "message": message, "involvedObject": {"name": "demo"}}
    waiting = replace(run("Pending"), job={"metadata": {"uid": "u"}, "spec": {"completions": 2}})
    both = [pod("demo-0", "Running"), pod("demo-1", "Running", rank=1)]
    assert message in diagnose(Facts(waiting, [], [refused])).cause
    assert message in diagnose(Facts(waiting, both[:1], [refused])).cause
    assert diagnose(Facts(waiting, both, [refused])).state == "Running"
