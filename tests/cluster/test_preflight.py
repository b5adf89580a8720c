"""What submit reads off the nodes, on a real API server: a Node made for the test, which no pod can be placed on."""

from collections.abc import Iterator

import pytest
from tools.cluster.cluster import Cluster

from .command import Command
from .conftest import new_namespace


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster) -> Iterator[Command]:
    with new_namespace(cluster) as name:
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.fixture
def node(phi3k: Command) -> Iterator[str]:
    """A node that no kubelet stands behind, with eight GPUs, as its device plugin would announce them."""
    name = f"gpus-of-{phi3k.namespace}"
    taint = {"key": "phi3k.test/no-kubelet", "effect": "NoSchedule"}
    made = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"owner": phi3k.namespace}},
        "spec": {"taints": [taint], "unschedulable": True},
        "status": {"capacity": {"nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "8"}},
    }
    phi3k.cluster.kubectl("create", "-f", "-", manifest=made)
    yield name
    phi3k.cluster.kubectl("delete", "node", name)


def tried(phi3k: Command, *arguments: str) -> tuple[int, str]:
    """Submit the demo's model to the GPUs of that node, as a dry run."""
    selector = f"cluster.node_selector={{owner: {phi3k.namespace}}}"
    result = phi3k("submit", "demo", "--gpus", "8", "--kind", "job", "--dry-run", "--set", selector, *arguments)
    return result.code, result.err


def test_a_run_that_does_not_fit_the_gpus_that_the_labels_name_is_told_in_a_note(phi3k: Command, node: str) -> None:
    phi3k.cluster.kubectl("label", "node", node, "nvidia.com/gpu.memory=512")
    code, err = tried(phi3k)
    assert code == 0, err
    assert "note: on the largest GPU of the nodes that are up" in err
    assert "GiB on each device, which has 0.5" in err


@pytest.mark.parametrize("label", ["nvidia.com/gpu.memory=81920", "nvidia.com/gpu.memory=unknown", "other=label"])
def test_a_run_that_fits_or_a_node_that_does_not_tell_passes(phi3k: Command, node: str, label: str) -> None:
    phi3k.cluster.kubectl("label", "node", node, label)
    code, err = tried(phi3k)
    assert code == 0, err
    assert "memory" not in err
