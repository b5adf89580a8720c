"""The cluster that tests run on: brought up once a session, or the one that PHI3K_TEST_KUBECONFIG names."""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster, existing, up


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with all operators. Without root on Linux there is none, which only CI calls a failure."""
    kubeconfig = os.environ.get("PHI3K_TEST_KUBECONFIG")
    if kubeconfig:
        yield existing(Path(kubeconfig))
        return
    if (sys.platform != "linux" or os.geteuid() != 0) and os.environ.get("CI") != "true":
        pytest.skip("a cluster needs root on Linux, or PHI3K_TEST_KUBECONFIG")
    running = up(f"test-{secrets.token_hex(3)}", detached=False)
    yield running
    assert running.sandbox is not None
    running.sandbox.destroy()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, removed after it."""
    name = f"phi3k-test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def restricted_namespace(cluster: Cluster, namespace: str) -> str:
    """The same, enforcing the `restricted` pod security standard."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace
