"""The cluster that tests run on: brought up once a session, or the one that PHI3K_TEST_KUBECONFIG names."""

import json
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tools.cluster.cluster import NODE, SHARED_VARIABLE, Cluster, existing, obstacle, shared, up
from tools.cluster.product import PRODUCT_IMAGE, build_product_image, load_product_image
from tools.cluster.stand_in import IMAGE_VARIABLE, write_stand_in
from xdist.scheduler.loadscope import LoadScopeScheduling

from .command import Command

# Each changes the one node: GPUs come and go, it is cordoned. Side by side they would disturb each other.
CHANGE_THE_NODE = frozenset(
    {"test_cluster", "test_faults", "test_health", "test_preflight", "test_status", "test_training"}
)
EVENTS_SHOWN = 80


class OneProcessAFile(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a file in one process, for its fixtures, and all that change the node in one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "node" if Path(file).stem in CHANGE_THE_NODE else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessAFile:
    """Share the tests out over the processes of `pytest -n`."""
    return OneProcessAFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the cluster did before it: nobody can ask that cluster later."""
    report = yield
    if report.failed and SHARED_VARIABLE in os.environ:
        arguments = ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp")
        events = shared(os.environ[SHARED_VARIABLE]).try_kubectl(*arguments).stdout.splitlines()
        report.sections.append(("Last events of the cluster", "\n".join(events[-EVENTS_SHOWN:])))
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with all operators. Without root on Linux there is none, which only CI calls a failure."""
    if SHARED_VARIABLE in os.environ:
        yield shared(os.environ[SHARED_VARIABLE])
        return
    kubeconfig = os.environ.get("PHI3K_TEST_KUBECONFIG")
    if kubeconfig:
        yield existing(Path(kubeconfig))
        return
    reason = obstacle()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(reason)
    running = up(f"test-{secrets.token_hex(3)}", detached=False)
    yield running
    assert running.sandbox is not None
    running.sandbox.destroy()


@pytest.fixture(scope="session")
def stand_in(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The image that stands in for the trainer's, known to the node."""
    if SHARED_VARIABLE in os.environ:
        return
    if cluster.sandbox is not None:
        cluster.load_image(write_stand_in(tmp_path_factory.mktemp("images") / "stand-in.tar"))
    elif IMAGE_VARIABLE not in os.environ:
        pytest.skip(f"{IMAGE_VARIABLE} must name an image that the cluster can pull")


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for the block, removed after it."""
    name = f"phi3k-test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster, stand_in: None) -> Iterator[Command]:
    """The command in a namespace of the module's own, which enforces the `restricted` pod security standard."""
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.fixture
def nothing_left(phi3k: Command) -> Iterator[None]:
    """Cancels the runs of the test after it."""
    yield
    phi3k.cancel_all()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    with new_namespace(cluster) as name:
        yield name


@pytest.fixture
def restricted_namespace(cluster: Cluster, namespace: str) -> str:
    """The same, enforcing the `restricted` pod security standard."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace


@pytest.fixture(scope="session")
def product_image(cluster: Cluster) -> str:
    """The name of the product's image, on the node; on someone else's cluster, what PHI3K_TEST_IMAGE names."""
    if cluster.sandbox is None:
        if "PHI3K_TEST_IMAGE" not in os.environ:
            pytest.skip("PHI3K_TEST_IMAGE must name an image that the cluster can pull")
        return os.environ["PHI3K_TEST_IMAGE"]
    if SHARED_VARIABLE not in os.environ:
        build_product_image()
        load_product_image(cluster.sandbox)
    return PRODUCT_IMAGE


@pytest.fixture(scope="module")
def gpus(cluster: Cluster) -> Iterator[int]:
    """A node that says it has 8 GPUs: the scheduler counts them, and nothing uses them."""
    if cluster.sandbox is None:
        pytest.skip("the nodes aren't ours to change")
    patch = ("patch", "node", NODE, "--subresource=status", "--type=merge", "--patch")
    cluster.kubectl(*patch, '{"status": {"capacity": {"nvidia.com/gpu": "8"}}}')
    cluster.kubectl("wait", "node", NODE, "--for=jsonpath={.status.allocatable.nvidia\\.com/gpu}=8", "--timeout=30s")
    yield 8
    without = {"nvidia.com/gpu": None}
    cluster.kubectl(*patch, json.dumps({"status": {"capacity": without, "allocatable": without}}))
