"""Metrics for Prometheus: the PodMonitor is one that the operator's own definition accepts, and submit looks for it."""

import json
from collections.abc import Iterator

import pytest

from .cluster import APPLY, Cluster
from .command import Command
from .conftest import new_namespace
from .stand_in import FOREVER
from .tools import PROMETHEUS_OPERATOR, module_directory

# The definition is the cluster's, not the namespace's.
pytestmark = pytest.mark.xdist_group("node")

MODULE = "github.com/prometheus-operator/prometheus-operator"
DEFINITION = "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"
NAME = "customresourcedefinition/podmonitors.monitoring.coreos.com"


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster, stand_in: None) -> Iterator[Command]:
    with new_namespace(cluster) as name:
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.fixture
def definition(cluster: Cluster) -> Iterator[None]:
    """The PodMonitor as the Prometheus operator publishes it, removed again unless it was there."""
    if cluster.try_kubectl("get", NAME).returncode == 0:
        yield
        return
    file = module_directory(PROMETHEUS_OPERATOR, MODULE) / DEFINITION
    cluster.kubectl(*APPLY, "-f", str(file))
    cluster.kubectl("wait", NAME, "--for=condition=Established", "--timeout=30s")
    yield
    cluster.kubectl("delete", NAME)


def test_a_cluster_without_the_operator_is_told_and_nothing_is_left(phi3k: Command) -> None:
    if phi3k.cluster.try_kubectl("get", NAME).returncode == 0:
        pytest.skip("somebody has installed the Prometheus operator in this cluster")
    result = phi3k.submit("unwatched", FOREVER, "--set", "cluster.pod_monitor=true")
    assert result.code == 69
    assert "the cluster has no PodMonitor (monitoring.coreos.com/v1)" in result.err
    assert phi3k.objects() == []


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize("kind", ["pytorchjob", "trainjob", "job"])
def test_the_pod_monitor_names_a_port_of_the_runs_pods_and_goes_with_the_run(phi3k: Command, kind: str) -> None:
    result = phi3k.submit(f"watched-{kind}", FOREVER, "--kind", kind, "--set", "cluster.pod_monitor=true")
    assert result.code == 0, result.err
    phi3k.status_when(f"watched-{kind}", lambda status: status["state"] == "Running")
    here = ("--namespace", phi3k.namespace, "--output=json")
    spec = json.loads(phi3k.cluster.kubectl("get", "podmonitor", f"watched-{kind}", *here))["spec"]
    chosen = ",".join(f"{label}={value}" for label, value in spec["selector"]["matchLabels"].items())
    (pod,) = json.loads(phi3k.cluster.kubectl("get", "pods", f"--selector={chosen}", *here))["items"]
    (endpoint,) = spec["podMetricsEndpoints"]
    (container,) = pod["spec"]["containers"]
    assert {"name": endpoint["port"], "containerPort": 9464, "protocol": "TCP"} in container["ports"]
    phi3k("cancel", f"watched-{kind}", "--yes")
    phi3k.cluster.kubectl("wait", "podmonitor", f"watched-{kind}", "--for=delete", "--timeout=60s", *here[:2])
