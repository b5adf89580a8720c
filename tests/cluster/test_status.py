"""`phi3k status` names the cause, on a cluster where the cause is real."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import FOREVER

from .command import Command

pytestmark = pytest.mark.usefixtures("nothing_left")

# Takes memory until it is killed.
HUNGRY = "x=x; while true; do x=$x$x; done"


@pytest.fixture
def eight_gpus(cluster: Cluster) -> Iterator[None]:
    """Eight GPUs on the first node, as a device plugin would announce them."""
    node = cluster.kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
    for operation in ("add", "remove"):
        path = "/status/capacity/nvidia.com~1gpu"
        change = json.dumps([{"op": operation, "path": path, **({"value": "8"} if operation == "add" else {})}])
        cluster.kubectl("patch", "node", node, "--subresource=status", "--type=json", "--patch", change)
        if operation == "add":
            announced = ("--for=jsonpath={.status.allocatable.nvidia\\.com/gpu}=8", "--timeout=60s")
            cluster.kubectl("wait", f"node/{node}", *announced)
            yield


def is_caused_by(*words: str) -> Any:
    return lambda status: all(word in status["cause"] for word in words)


def test_eight_gpus_are_scheduled_as_eight(phi3k: Command, eight_gpus: None) -> None:
    result = phi3k.submit("gpus", "echo trained", "--gpus", "8", "--wait")
    assert result.code == 0, result.err


def test_sixteen_gpus_where_there_are_eight_wait_and_say_why(phi3k: Command, eight_gpus: None) -> None:
    result = phi3k.submit("sixteen", "true", "--gpus", "16")
    assert "2 nodes with 8 nvidia.com/gpu are needed and 1 are there" in result.err
    status = phi3k.status_when("sixteen", is_caused_by("find no node", "Insufficient nvidia.com/gpu"))
    assert status["state"] == "Pending"
    assert status["nodes"] == 2
    assert "--gpus" in status["action"]


def test_more_gpus_than_any_node_has_wait_for_a_larger_one(phi3k: Command, eight_gpus: None) -> None:
    result = phi3k.submit("large", "true", "--gpus", "16", "--set", "cluster.gpus_per_node=16")
    assert result.code == 0, result.err
    assert "no node that is up has more than 8" in result.err
    phi3k.status_when("large", is_caused_by("Insufficient nvidia.com/gpu"))


def test_a_run_shows_step_loss_and_eta(phi3k: Command) -> None:
    line = "demo  step 120/400  loss 0.8312  9,034 tokens/s  ETA 12:05"
    phi3k.submit("steps", f"echo '{line}'; {FOREVER}")
    status = phi3k.status_when("steps", lambda status: status["progress"] is not None)
    assert status["state"] == "Running"
    assert status["progress"] == {"step": 120, "total_steps": 400, "loss": 0.8312, "remaining": "12:05"}
    assert "step 120 of 400, loss 0.8312, ETA 12:05" in phi3k("status", "steps").out


def test_an_image_that_cannot_be_pulled(phi3k: Command) -> None:
    phi3k.submit("image", "true", "--set", "cluster.image=localhost:1/none:0")
    status = phi3k.status_when("image", is_caused_by("localhost:1/none:0", "can't be pulled"))
    assert "cluster.image" in status["action"]


def test_an_image_that_is_no_phi3k_image(phi3k: Command) -> None:
    phi3k.submit(
        "foreign", "true", "--kind", "job", "--set", "cluster.image=busybox:stable", "--set", "cluster.retries=0"
    )
    status = phi3k.status_when("foreign", is_caused_by("can't be started", "/opt/phi3k/bin/python"))
    assert "cluster.image" in status["action"]


def test_a_secret_that_has_gone_since_submit(phi3k: Command) -> None:
    here = ("--namespace", phi3k.namespace)
    phi3k.cluster.kubectl("create", "secret", "generic", "hub", "--from-literal=HF_TOKEN=x", *here)
    phi3k.submit("secret", FOREVER, "--set", "cluster.hf_secret=hub", "--set", "cluster.node_selector={free: 'yes'}")
    phi3k.cluster.kubectl("delete", "secret", "hub", *here)
    node = phi3k.cluster.kubectl("get", "nodes", "--output=name").split()[0]
    phi3k.cluster.kubectl("label", node, "free=yes")
    try:
        status = phi3k.status_when("secret", is_caused_by('secret "hub" not found'))
        assert status["state"] == "Pending"
    finally:
        phi3k.cluster.kubectl("label", node, "free-")


def test_a_claim_that_no_volume_fits(phi3k: Command) -> None:
    phi3k.submit("claim", "true", "--set", "cluster.cache.claim=huge", "--set", "cluster.cache.size=1000Pi")
    status = phi3k.status_when("claim", is_caused_by("the claim huge has no volume"))
    assert "storage class" in status["action"]
    phi3k("cancel", "claim", "--yes")
    phi3k.cluster.kubectl("delete", "pvc", "huge", "--namespace", phi3k.namespace, "--wait=false")


def test_a_quota_that_leaves_no_room_for_pods(phi3k: Command) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    phi3k.cluster.kubectl("create", "-f", "-", "--namespace", phi3k.namespace, manifest=quota)
    try:
        phi3k.submit("quota", "true", "--kind", "job")
        phi3k.status_when("quota", is_caused_by("exceeded quota: none"))
    finally:
        phi3k.cluster.kubectl("delete", "resourcequota", "none", "--namespace", phi3k.namespace)


def test_memory_that_runs_out(phi3k: Command) -> None:
    phi3k.submit("oom", HUNGRY, "--kind", "job", "--set", "cluster.retries=0")
    status = phi3k.status_when("oom", is_caused_by("OOMKilled"))
    assert status["exit_code"] == 137
    assert "cluster.resources.memory" in status["action"]


def test_memory_that_runs_out_of_a_whole_container_is_named_after_its_pod_was_replaced(phi3k: Command) -> None:
    """The kernel kills process 1 too, so that no attempt has words about it; the operator's event does.

    The second attempt lasts over a second, as the trainer's start does: events are told apart by their second.
    """
    silent = json.dumps({"message": "attempt 2; the one before ended without a word", "attempt": 2, "previous": None})
    again = f"[ -e /runs/oom ] && {{ echo '{silent}'; sleep 2; exit 70; }}; touch /runs/oom"
    phi3k.submit("killed", f"{again}; {HUNGRY}", "--kind", "pytorchjob")
    status = phi3k.status_when("killed", lambda status: status["state"] == "Failed")
    assert status["exit_code"] == 70
    assert status["earlier"]["exit_code"] == 137
    assert "OOMKilled" in status["earlier"]["message"]
    assert "OOMKilled" in phi3k("status", "killed").out


def test_the_trainers_own_words_and_code(phi3k: Command) -> None:
    told = json.dumps({"exit_code": 65, "message": "no column title", "step": 7, "checkpoint": "/runs/x/step-7"})
    phi3k.submit("words", f"echo '{told}' > /dev/termination-log; exit 65")
    status = phi3k.status_when("words", lambda status: status["state"] == "Failed")
    assert "ended with 65: no column title" in status["cause"]
    assert (status["exit_code"], status["checkpoint"]) == (65, "/runs/x/step-7")
    assert phi3k("wait", "words").code == 65


def test_a_deadline_that_has_passed(phi3k: Command) -> None:
    phi3k.submit("late", FOREVER, "--kind", "job", "--set", "cluster.deadline=3s")
    status = phi3k.status_when("late", lambda status: status["state"] == "Failed")
    assert (status["cause"], status["exit_code"]) == ("the deadline has passed", 75)


def test_a_suspended_run_says_so_and_resumes(phi3k: Command) -> None:
    phi3k.submit("held", FOREVER)
    phi3k.status_when("held", lambda status: status["state"] == "Running")
    phi3k("suspend", "held")
    status = phi3k.status_when("held", lambda status: status["state"] == "Suspended")
    assert "phi3k resume held" in status["action"]
    assert phi3k("suspend", "held").code == 64
    phi3k("resume", "held")
    phi3k.status_when("held", lambda status: status["state"] == "Running")


def test_an_eviction_is_told_and_the_run_goes_on(phi3k: Command) -> None:
    phi3k.submit("evicted", FOREVER, "--kind", "job")
    phi3k.status_when("evicted", lambda status: status["state"] == "Running")
    selector = ("--namespace", phi3k.namespace, "--selector=phi3k/run=evicted")
    pod = phi3k.cluster.kubectl("get", "pods", *selector, "--output=jsonpath={.items[0].metadata.name}")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": phi3k.namespace}}
    phi3k.cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{phi3k.namespace}/pods/{pod}/eviction", "-f", "-", manifest=eviction
    )
    phi3k.status_when("evicted", is_caused_by("was evicted"))
    phi3k.status_when("evicted", lambda status: status["state"] == "Running")
