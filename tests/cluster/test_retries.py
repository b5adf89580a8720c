"""What a run's failures mean, by kind: which end it at once, which are tried again, and what stays to be read."""

import json

import pytest
from tools.cluster.stand_in import FOREVER

from phi3k_jobs.kinds import KINDS

from .command import Command

pytestmark = pytest.mark.usefixtures("nothing_left")

TOLD = json.dumps({"exit_code": 65, "message": "no column title", "step": 7, "checkpoint": "/runs/x/step-7"})


def pods(phi3k: Command, run: str) -> list[str]:
    return [entry for entry in phi3k.objects() if entry.startswith(f"Pod {run}-")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_error_ends_a_run_at_once_and_its_pod_and_log_stay(phi3k: Command, kind: str) -> None:
    name = f"wrong-{kind}"
    script = f"echo '{TOLD}' > /dev/termination-log; echo its last words; exit 65"
    assert phi3k.submit(name, script, "--kind", kind, "--set", "cluster.retries=5", "--wait").code == 65
    assert len(pods(phi3k, name)) == 1
    assert phi3k("logs", name).out == "its last words\n"
    status = phi3k.status(name)
    assert "ended with 65: no column title" in status["cause"]
    assert (status["state"], status["exit_code"], status["checkpoint"]) == ("Failed", 65, "/runs/x/step-7")


@pytest.mark.parametrize("kind", ["trainjob", "job", "jobset"])
def test_an_error_worth_another_try_is_tried_again_as_often_as_the_recipe_says(phi3k: Command, kind: str) -> None:
    name = f"signal-{kind}"
    assert phi3k.submit(name, "exit 143", "--kind", kind, "--set", "cluster.retries=1", "--wait").code == 143
    assert len(pods(phi3k, name)) == 2


@pytest.mark.parametrize("kind", ["trainjob", "job", "jobset"])
def test_a_deadline_that_has_passed(phi3k: Command, kind: str) -> None:
    assert phi3k.submit("late", FOREVER, "--kind", kind, "--set", "cluster.deadline=3s", "--wait").code == 75
    status = phi3k.status("late")
    assert (status["state"], status["cause"]) == ("Failed", "the deadline has passed")


def test_an_evicted_pod_of_a_trainjob_costs_no_retry(phi3k: Command) -> None:
    script = f"[ -e /runs/evicted ] && exit 0; touch /runs/evicted; {FOREVER}"
    phi3k.submit("evicted", script, "--kind", "trainjob", "--set", "cluster.retries=0")
    phi3k.status_when("evicted", lambda status: status["state"] == "Running")
    (entry,) = pods(phi3k, "evicted")
    pod = entry.removeprefix("Pod ")
    metadata = {"name": pod, "namespace": phi3k.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{phi3k.namespace}/pods/{pod}/eviction"
    phi3k.cluster.kubectl("create", "--raw", path, "-f", "-", manifest=eviction)
    assert phi3k("wait", "evicted").code == 0


def test_a_priority_class_reaches_the_pods_of_a_trainjob(phi3k: Command) -> None:
    name = phi3k.namespace
    high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7}
    phi3k.cluster.kubectl("create", "-f", "-", manifest=high)
    try:
        chosen = ("--kind", "trainjob", "--set", f"cluster.priority_class={name}")
        assert phi3k.submit("important", "true", *chosen, "--wait").code == 0
        here = ("--namespace", phi3k.namespace, "-l", "phi3k/run=important")
        priority = phi3k.cluster.kubectl("get", "pods", *here, "--output=jsonpath={.items[*].spec.priority}")
        assert priority == "7"
    finally:
        phi3k.cluster.kubectl("delete", "priorityclass", name)
