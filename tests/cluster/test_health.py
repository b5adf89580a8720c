"""READY, `phi3k status` and Prometheus tell whether a run moves. The PodMonitor's definition is the operator's own."""

import json
from collections.abc import Iterator

import pytest
from tools.cluster.cluster import APPLY, Cluster
from tools.cluster.stand_in import FOREVER
from tools.cluster.tools import PROMETHEUS_OPERATOR, module_directory

from .command import Command
from .conftest import new_namespace
from .test_chart import SMALL

# The definition is the cluster's, not the namespace's.
MODULE = "github.com/prometheus-operator/prometheus-operator"
DEFINITION = "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"
NAME = "customresourcedefinition/podmonitors.monitoring.coreos.com"
# It trains until it is cancelled.
ENDLESS = ("training.max_steps=1000000", "training.epochs=1000000", "evaluation.every_steps=null")
SIGNAL_WORKER = """
import json, os, pathlib, signal, sys, time
for process in pathlib.Path("/proc").glob("[0-9]*"):
    command = (process / "cmdline").read_bytes().split(b"\\0")
    if b"phi3k_trainer.training.worker" in command and b"torch.distributed.run" not in command:
        os.kill(int(process.name), signal.Signals[sys.argv[1]])
"""
AN_HOUR_PASSES = """
file = pathlib.Path(os.environ["PHI3K_HEALTH_FILE"])
health = json.loads(file.read_text())
file.write_text(json.dumps({**health, "time": time.time() - 3700}))
"""


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
    cluster.wait_until_established(NAME)
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


def metrics_of(phi3k: Command, pod: str) -> dict[str, float]:
    """What Prometheus would read now."""
    text = phi3k.cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{phi3k.namespace}/pods/{pod}:9464/proxy/metrics")
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("phi3k_"): float(value) for name, value in lines}


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("definition")
def test_a_process_that_hangs_is_seen_and_so_is_that_it_goes_on(phi3k: Command, product_image: str) -> None:
    settings = (
        *SMALL,
        *ENDLESS,
        "cluster.kind=pytorchjob",
        "cluster.pod_monitor=true",
        f"cluster.image={product_image}",
    )
    options = [word for setting in settings for word in ("--set", setting)]
    result = phi3k("submit", "demo", "--name", "hangs", *options)
    assert result.code == 0, result.err
    here = ("--namespace", phi3k.namespace)
    pod, python = "hangs-master-0", "/opt/phi3k/bin/python"
    phi3k.status_when("hangs", lambda status: status["progress"] is not None, 180)
    phi3k.cluster.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=30s", *here)
    moving = metrics_of(phi3k, pod)
    assert 1 <= moving["step"] < moving["total_steps"] == 1_000_000
    assert moving["tokens_per_second"] > 0
    assert moving["restarts"] == 0
    assert moving["seconds_since_progress"] < moving["progress_limit_seconds"]

    phi3k.cluster.kubectl("exec", pod, *here, "--", python, "-c", SIGNAL_WORKER + AN_HOUR_PASSES, "SIGSTOP")
    phi3k.cluster.kubectl("wait", f"pod/{pod}", "--for=condition=Ready=False", "--timeout=90s", *here)
    status = phi3k.status_when("hangs", lambda status: status["state"] == "Stalled")
    assert f"{pod} has made no progress for 1 h: training at step " in status["cause"]
    assert "phi3k resume hangs" in status["action"]
    standing = metrics_of(phi3k, pod)
    assert standing["seconds_since_progress"] > standing["progress_limit_seconds"]

    phi3k.cluster.kubectl("exec", pod, *here, "--", python, "-c", SIGNAL_WORKER, "SIGCONT")
    phi3k.cluster.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=90s", *here)
    phi3k.status_when("hangs", lambda status: status["state"] == "Running")
    assert metrics_of(phi3k, pod)["step"] >= standing["step"]
    restarts = "--output=jsonpath={.status.containerStatuses[0].restartCount}"
    assert phi3k.cluster.kubectl("get", "pod", pod, restarts, *here) == "0"
    phi3k("cancel", "hangs", "--yes")
