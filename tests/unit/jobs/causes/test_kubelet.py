"""Pods that the kubelet has refused or ended as a whole, as it writes their status."""

from typing import Any

import pytest

from phi3k_jobs.watch.diagnosis import Facts, diagnose
from phi3k_jobs.watch.earlier import in_pods
from tests.unit.jobs.making import pod, run

LOW = "The node was low on resource: {}. Threshold quantity: 100Mi, available: 90Mi. "


def refused(reason: str, message: str) -> dict[str, Any]:
    return pod("demo-0", "Failed", reason=reason, message=message)


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present", "look at the node"),
        (
            "UnexpectedAdmissionError",
            "rpc error: request for 2 gpu.shared: maximum request size for shared resources is 1",
            "cluster.gpus_per_node",
        ),
        ("TopologyAffinityError", "Resources cannot be allocated with Topology locality", "NUMA"),
        ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed", "cluster.node_selector"),
        ("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu", "another attempt"),
        ("OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu, requested: 8", "another attempt"),
        ("SMTAlignmentError", "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2", "even number"),
        ("NodeShutdown", "Pod was rejected as the node is shutting down.", "does not shut down"),
        ("SomethingNew", "m", "look at the node"),
    ],
)
@pytest.mark.parametrize("state", ["Running", "Failed"])
def test_a_refusal_is_named_with_its_reason_and_remedy(state: str, reason: str, message: str, words: str) -> None:
    found = diagnose(Facts(run(state), [refused(reason, message)]))
    assert f"refused demo-0 ({reason}): {message}" in found.cause
    assert words in found.action
    assert found.exit_code is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Pod ephemeral local storage usage exceeds the total limit of containers 20Gi. ", "ephemeral_storage"),
        ('Container trainer exceeded its local ephemeral storage limit "20Gi". ', "ephemeral_storage"),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "20Gi". ', "ephemeral_storage"),
        ('Usage of EmptyDir volume "shm" exceeds the limit "16Gi". ', "shared_memory"),
        (LOW.format("memory"), "cluster.node_selector"),
        (LOW.format("ephemeral-storage"), "ephemeral_storage"),
        ("The node had condition: [DiskPressure]. ", "ephemeral_storage"),
    ],
)
def test_an_eviction_that_would_come_again_names_what_to_raise(message: str, words: str) -> None:
    found = diagnose(Facts(run("Failed"), [refused("Evicted", message)]))
    assert "was evicted" in found.cause
    assert words in found.action
    assert found.exit_code == 137


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Preempting", "Preempted in order to admit critical pod"),
        ("Terminated", "Pod was terminated in response to imminent node shutdown."),
        ("Shutdown", "Node is shutting, evicting pods"),
    ],
)
def test_a_pod_that_its_node_has_ended_resumes_by_itself(reason: str, message: str) -> None:
    found = diagnose(Facts(run("Running"), [refused(reason, message)]))
    assert (found.state, found.exit_code) == ("Restarting", 137)
    assert message in found.cause
    assert "by itself" in found.action


def test_a_refusal_of_the_attempt_before_is_found_among_the_pods_a_job_keeps() -> None:
    (earlier,) = in_pods([refused("OutOfcpu", "Node didn't have enough resource: cpu")])
    assert "OutOfcpu" in earlier.message


def test_a_pod_of_a_node_that_is_gone_was_evicted() -> None:
    """The garbage collector says so in a condition alone, and the container's last status stays."""
    gone = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "node no longer exists",
    }
    left = [{"name": "trainer", "state": {"running": {}}}]
    collected = pod("demo-0", "Failed", conditions=[gone], containerStatuses=left)
    found = diagnose(Facts(run("Running"), [collected]))
    assert (found.state, found.exit_code) == ("Restarting", 137)
    assert "node no longer exists" in found.cause
