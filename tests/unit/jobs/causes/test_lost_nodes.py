"""Pods of a node that has died, as the node controller and the taint manager leave them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from phi3k_jobs.watch.diagnosis import Facts, diagnose
from tests.unit.jobs.making import pod, run

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TAINTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}


def of_node(*conditions: dict[str, str], ready: bool = True, deleted: str | None = None) -> dict[str, Any]:
    status = {"name": "trainer", "ready": ready, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    found = pod("demo-0", "Running", containerStatuses=[status], conditions=list(conditions))
    found["spec"]["nodeName"] = "gpu-7"
    if deleted:
        found["metadata"]["deletionTimestamp"] = deleted
    return found


@pytest.mark.parametrize(
    "marked",
    [
        # What the node controller of Kubernetes 1.28 to 1.34 writes: the kubelet's own condition, turned to False.
        of_node({"type": "Ready", "status": "False"}),
        of_node({"type": "Ready", "status": "False", "reason": "NodeStatusUnknown", "message": "node is not ready"}),
        of_node({"type": "Ready", "status": "Unknown"}),
        of_node(TAINTED, deleted="2026-01-01T11:05:00Z"),
    ],
)
def test_a_dead_node_is_named_though_its_pod_is_still_called_running(marked: dict[str, Any]) -> None:
    found = diagnose(Facts(run("Running"), [marked], now=NOW))
    assert found.state == "Stalled"
    assert "the node gpu-7 of demo-0 does not answer" in found.cause
    assert "kubectl delete node" in found.action


@pytest.mark.parametrize(
    "alive",
    [
        of_node({"type": "Ready", "status": "True"}),
        of_node({"type": "Ready", "status": "False", "reason": "ContainersNotReady"}, ready=False),
    ],
)
def test_a_pod_whose_kubelet_says_how_it_is_runs(alive: dict[str, Any]) -> None:
    assert diagnose(Facts(run("Running"), [alive], now=NOW)).state == "Running"


def test_a_pod_that_saves_in_its_grace_period_is_being_evicted() -> None:
    found = diagnose(Facts(run("Running"), [of_node(TAINTED, deleted="2026-01-01T12:04:00Z")], now=NOW))
    assert found.state == "Restarting"
    assert "is being evicted: Taint manager" in found.cause
