"""The test cluster is a real one: pods run, names resolve, operators reconcile, policies hold."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from kubernetes.client import CoreV1Api
from tools.cluster.cluster import PROBES, Cluster
from tools.cluster.errors import ClusterError
from tools.cluster.images import PROBE_IMAGE

RESTRICTED_POD: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: Mapping[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod(name: str, *command: str, restricted: bool = True) -> dict[str, Any]:
    """A pod that runs one command of busybox."""
    container: dict[str, Any] = {"name": "main", "image": PROBE_IMAGE, "command": list(command)}
    specification: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    if restricted:
        specification["securityContext"] = RESTRICTED_POD
        container["securityContext"] = RESTRICTED_CONTAINER
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": specification}


def run_pod(cluster: Cluster, namespace: str, name: str, *command: str) -> str:
    """Run a command in a pod to its good end; return what it printed."""
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=pod(name, *command))
    wait = ("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    cluster.kubectl(*wait, "--namespace", namespace)
    return cluster.kubectl("logs", name, "--namespace", namespace)


def probe(kind: str) -> dict[str, Any]:
    """The minimal object of a kind in `manifests/probes.yaml`."""
    (found,) = (document for document in yaml.safe_load_all(PROBES.read_text()) if document["kind"] == kind)
    assert isinstance(found, dict)
    return found


def test_a_pod_runs_on_the_node_and_its_logs_come_through_the_python_client(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=10s")
    run_pod(cluster, namespace, "hello", "sh", "-c", "echo one; echo two")
    with cluster.api_client() as client:
        assert CoreV1Api(client).read_namespaced_pod_log("hello", namespace) == "one\ntwo\n"


def test_a_pod_reaches_another_through_the_name_of_its_service(cluster: Cluster, namespace: str) -> None:
    server = pod("server", "sh", "-c", "echo found > /tmp/index.html && httpd -f -p 8080 -h /tmp")
    server["metadata"]["labels"] = {"app": "server"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=server)
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=service)
    cluster.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=60s", "--namespace", namespace)
    fetch = (
        f"for i in 1 2 3 4 5; do wget -q -O - http://web.{namespace}.svc.cluster.local && exit 0; sleep 1; done; exit 1"
    )
    assert run_pod(cluster, namespace, "client", "sh", "-c", fetch) == "found\n"


def test_a_pytorchjob_runs_to_its_end(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=probe("PyTorchJob"))
    wait = ("wait", "pytorchjob/probe-pytorchjob", "--for=condition=Succeeded", "--timeout=60s")
    cluster.kubectl(*wait, "--namespace", namespace)


def test_a_trainjob_runs_to_its_end_through_a_jobset(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=probe("TrainJob"))
    wait = ("wait", "trainjob/probe-trainjob", "--for=condition=Complete", "--timeout=60s")
    cluster.kubectl(*wait, "--namespace", namespace)
    jobsets = json.loads(cluster.kubectl("get", "jobset", "--namespace", namespace, "--output=json"))["items"]
    assert [jobset["metadata"]["name"] for jobset in jobsets] == ["probe-trainjob"]


def with_two_masters() -> dict[str, Any]:
    job = probe("PyTorchJob")
    job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"] = 2
    return job


def with_reserved_environment() -> dict[str, Any]:
    job = probe("TrainJob")
    job["spec"]["trainer"]["env"] = [{"name": "PET_NNODES", "value": "2"}]
    return job


def with_success_of_a_missing_job() -> dict[str, Any]:
    jobset = probe("JobSet")
    jobset["spec"]["successPolicy"] = {"operator": "All", "targetReplicatedJobs": ["missing"]}
    return jobset


def with_a_malformed_taint() -> dict[str, Any]:
    flavor = probe("ResourceFlavor")
    flavor["spec"] = {"nodeTaints": [{"key": "spot", "value": "not a label", "effect": "NoSchedule"}]}
    return flavor


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (with_two_masters(), r"validator\.pytorchjob\.training-operator\.kubeflow\.org"),
        (with_reserved_environment(), r"validator\.trainjob\.trainer\.kubeflow\.org"),
        (with_success_of_a_missing_job(), "invalid replicatedJob name 'missing'"),
        (with_a_malformed_taint(), r"vresourceflavor\.kb\.io"),
    ],
    ids=["training-operator", "trainer", "jobset", "kueue"],
)
def test_the_webhook_of_each_operator_refuses_what_it_should(
    cluster: Cluster, namespace: str, refused: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ClusterError, match=reason):
        cluster.kubectl("create", "--dry-run=server", "--namespace", namespace, "-f", "-", manifest=refused)


def test_a_restricted_namespace_runs_a_compliant_pod(cluster: Cluster, restricted_namespace: str) -> None:
    assert run_pod(cluster, restricted_namespace, "compliant", "echo", "ran") == "ran\n"


def test_a_restricted_namespace_refuses_a_pod_that_may_be_root(cluster: Cluster, restricted_namespace: str) -> None:
    may_be_root = pod("root", "true", restricted=False)
    with pytest.raises(ClusterError, match=r'violates PodSecurity "restricted'):
        cluster.kubectl("create", "--namespace", restricted_namespace, "-f", "-", manifest=may_be_root)


def test_a_claim_of_any_access_mode_is_bound_and_writable(cluster: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "runs"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Gi"}}},
    }
    writer = pod("writer", "sh", "-c", "echo kept > /runs/file && cat /runs/file")
    writer["spec"]["volumes"] = [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}]
    writer["spec"]["containers"][0]["volumeMounts"] = [{"name": "runs", "mountPath": "/runs"}]
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=claim)
    cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=writer)
    wait = ("wait", "pod/writer", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    cluster.kubectl(*wait, "--namespace", namespace)


def test_the_scheduler_counts_gpus(cluster: Cluster, namespace: str, gpus: int) -> None:
    fits, too_many = pod("fits", "true"), pod("too-many", "true")
    for asked, number in ((fits, gpus), (too_many, gpus + 1)):
        asked["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(number)}}
        cluster.kubectl("create", "--namespace", namespace, "-f", "-", manifest=asked)
    wait = ("--timeout=60s", "--namespace", namespace)
    cluster.kubectl("wait", "pod/fits", "--for=jsonpath={.status.phase}=Succeeded", *wait)
    cluster.kubectl("wait", "pod/too-many", "--for=jsonpath={.status.conditions[0].reason}=Unschedulable", *wait)
    reason = cluster.kubectl("get", "pod/too-many", "--output=jsonpath={.status.conditions[0].message}", *wait[1:])
    assert "Insufficient nvidia.com/gpu" in reason
