"""Claims without a volume, in the words of Kubernetes' volume controller and of provisioners."""

from typing import Any

import pytest

from phi3k_jobs.causes.claims import unbound
from phi3k_jobs.watch.diagnosis import Facts, diagnose
from tests.unit.jobs.making import pod, run


def claim(phase: str, **metadata: str) -> dict[str, Any]:
    return {"metadata": {"name": "phi3k-runs", **metadata}, "status": {"phase": phase}}


def event(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"name": "phi3k-runs"}}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('storageclass.storage.k8s.io "fast" not found', "storage class that the cluster has"),
        ("failed to provision volume: rpc error: code = ResourceExhausted desc = quota", "smaller claim"),
        ("failed to provision volume: NodePath only supports ReadWriteOnce access mode", "access mode"),
        ("Waiting for a volume to be created either by the external provisioner 'nfs.csi.k8s.io' or manually", "wait"),
        ("no persistent volumes available for this claim and no storage class is set", "ask for a volume"),
    ],
)
def test_each_cause_has_its_own_remedy(message: str, words: str) -> None:
    found = diagnose(Facts(run("Pending"), [], [event("ProvisioningFailed", message)], [claim("Pending")]))
    assert found.cause == f"the claim phi3k-runs has no volume: {message}"
    assert words in found.action


def test_a_volume_that_waits_for_the_pods_node_is_not_the_cause() -> None:
    waits = event("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    message = "0/1 nodes are available: 1 node(s) had untolerated taint {a: }."
    tainted = pod("demo-0", "Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    found = diagnose(Facts(run("Pending"), [tainted], [waits], [claim("Pending")]))
    assert "untolerated taint" in found.cause


def test_a_claim_that_goes_or_has_lost_its_volume_is_named() -> None:
    for wrong, words in (
        (claim("Bound", deletionTimestamp="2026-01-01T00:00:00Z"), "is being deleted"),
        (claim("Lost"), "has lost its volume"),
    ):
        found = unbound(wrong, [])
        assert found is not None
        assert words in found[0]
    assert unbound(claim("Bound"), []) is None
