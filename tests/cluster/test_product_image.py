"""The product's image runs as clusters demand it, and two pods of it train together."""

from typing import Any

import pytest
from tools.cluster.cluster import Cluster

# The image has gigabytes, and loading it counts as part of the first test.
pytestmark = pytest.mark.timeout(1800)

POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}

# The sum of both ranks' numbers, over TCP between the pods.
ALL_REDUCE = """\
import torch, torch.distributed as dist
dist.init_process_group("gloo")
number = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(number)
print("sum", int(number), "of", dist.get_world_size(), flush=True)
dist.destroy_process_group()
"""


def specification(image: str, name: str, command: list[str]) -> dict[str, Any]:
    """A pod that `restricted` admits, with a writable directory only where programs are told to write."""
    container = {
        "name": name,
        "image": image,
        "command": command,
        "securityContext": CONTAINER,
        "env": [{"name": "TMPDIR", "value": "/scratch"}, {"name": "HOME", "value": "/scratch"}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    volumes = [{"name": "scratch", "emptyDir": {}}]
    return {"restartPolicy": "Never", "securityContext": POD, "containers": [container], "volumes": volumes}


def test_the_image_runs_in_a_restricted_namespace_without_being_told_a_user(
    cluster: Cluster, restricted_namespace: str, product_image: str
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "version"},
        "spec": specification(product_image, "phi3k", ["phi3k", "--help"]),
    }
    cluster.kubectl("create", "--namespace", restricted_namespace, "-f", "-", manifest=pod)
    wait = ("wait", "pod/version", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    cluster.kubectl(*wait, "--namespace", restricted_namespace)
    assert "Usage: phi3k" in cluster.kubectl("logs", "version", "--namespace", restricted_namespace)


def test_two_pods_of_an_elastic_pytorchjob_reduce_together(
    cluster: Cluster, restricted_namespace: str, product_image: str
) -> None:
    pod = specification(product_image, "pytorch", ["torchrun", "/code/all_reduce.py"])
    pod["volumes"].append({"name": "code", "configMap": {"name": "code"}})
    pod["containers"][0]["volumeMounts"].append({"name": "code", "mountPath": "/code"})
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "pair"},
        "spec": {
            "nprocPerNode": "1",
            "elasticPolicy": {"minReplicas": 2, "maxReplicas": 2, "rdzvBackend": "c10d", "maxRestarts": 0},
            "pytorchReplicaSpecs": {"Worker": {"replicas": 2, "restartPolicy": "Never", "template": {"spec": pod}}},
        },
    }
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"all_reduce.py": ALL_REDUCE},
    }
    for manifest in (code, job):
        cluster.kubectl("create", "--namespace", restricted_namespace, "-f", "-", manifest=manifest)
    wait = ("wait", "pytorchjob/pair", "--for=condition=Succeeded", "--timeout=180s")
    cluster.kubectl(*wait, "--namespace", restricted_namespace)
    for worker in ("pair-worker-0", "pair-worker-1"):
        assert "sum 3 of 2" in cluster.kubectl("logs", worker, "--namespace", restricted_namespace)
