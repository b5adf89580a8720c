"""What the product does when processes, pods, nodes, memory and disks fail under it: it goes on, or says what to do."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tools.cluster.cluster import NODE, Cluster
from tools.cluster.volumes import volume

from .command import Command
from .conftest import new_namespace
from .test_chart import SMALL

TRAINING = (
    *SMALL,
    "training.epochs=1000",
    "training.max_steps=24",
    "training.tokens_per_step=256",
    "checkpoint.every_steps=2",
    "evaluation.every_steps=null",
    "evaluation.max_samples=2",
    "cluster.log_format=json",
    "cluster.image_pull_policy=Never",
)
CHECKPOINT_MEGABYTES = 18
KILL_FIRST_RANK = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    command = (process / "cmdline").read_bytes().split(b"\\0")
    if b"phi3k_trainer.training.worker" in command and b"torch.distributed.run" not in command:
        os.kill(int(process.name), signal.SIGKILL)
"""


class Runs(Command):
    """The command for runs of the demo's recipe, shortened, in the product's image."""

    def train(self, name: str, image: str, *overrides: str) -> None:
        """Submit a run."""
        settings = (*TRAINING, f"cluster.image={image}", *overrides)
        result = self("submit", "demo", "--name", name, *(word for one in settings for word in ("--set", one)))
        assert result.code == 0, result.err

    def status_after_step(self, name: str, step: int) -> Any:
        """The status once the run has logged `step`."""
        return self.status_when(
            name, lambda status: status["progress"] is not None and status["progress"]["step"] >= step, 120
        )

    def kubectl(self, *arguments: str, manifest: object | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, manifest=manifest)

    def pod(self, name: str) -> str:
        """The name of the newest pod of a run of one node."""
        newest = "--sort-by=.metadata.creationTimestamp"
        pods = self.kubectl("get", "pods", f"--selector=phi3k/run={name},app.kubernetes.io/component=trainer", newest)
        return pods.splitlines()[-1].split()[0]

    def resumed_from(self, name: str) -> int:
        """The step of the checkpoint that the present attempt went on from, by its log."""
        found = re.search(r"continuing from \S+/step-(\d+)", self("logs", name).out)
        assert found is not None
        return int(found[1])


def is_earlier(code: int) -> Any:
    return lambda status: status["earlier"] is not None and status["earlier"]["exit_code"] == code


def saved_step(told: str) -> int:
    found = re.search(r"after step (\d+)", told)
    assert found is not None, told
    return int(found[1])


@pytest.fixture(scope="module")
def runs(cluster: Cluster) -> Iterator[Runs]:
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Runs(cluster, name, str(cluster.kubeconfig))


@pytest.fixture(autouse=True)
def nothing_left(runs: Runs) -> Iterator[None]:
    yield
    runs.cancel_all()


def test_a_killed_process_costs_the_steps_since_the_last_checkpoint(runs: Runs, product_image: str) -> None:
    runs.train("killed", product_image, "cluster.kind=pytorchjob")
    reached = runs.status_after_step("killed", 3)["progress"]["step"]
    runs.kubectl("exec", "killed-master-0", "--", "/opt/phi3k/bin/python", "-c", KILL_FIRST_RANK)
    status = runs.status_when("killed", lambda status: is_earlier(137)(status) and status["earlier"]["attempt"] == 2)
    assert "a process was killed by SIGKILL before the run could save" in status["earlier"]["message"]
    kept = runs.kubectl("exec", "killed-master-0", "--", "cat", "/runs/killed/logs/killed-master-0-1.log")
    assert f'"step": {reached}' in kept
    assert "(SIGKILL)" in kept

    assert runs("wait", "killed").code == 0
    assert runs.resumed_from("killed") >= reached // 2 * 2
    after = runs("status", "killed").out
    assert "killed: Succeeded" in after
    assert "before: attempt 2 of killed-master-0; the one before ended with 137" in after


def test_a_drained_node_lets_the_run_save_and_names_the_cordon(runs: Runs, product_image: str) -> None:
    if runs.cluster.sandbox is None:
        pytest.skip("the nodes aren't ours to drain")
    runs.train("drained", product_image, "cluster.kind=pytorchjob")
    reached = runs.status_after_step("drained", 3)["progress"]["step"]
    pods = ("--pod-selector=phi3k/run=drained", "--delete-emptydir-data", "--force", "--timeout=60s")
    try:
        runs.cluster.kubectl("drain", NODE, *pods)
        status = runs.status_when(
            "drained", lambda status: "find no node" in status["cause"] and is_earlier(143)(status)
        )
    finally:
        runs.cluster.kubectl("uncordon", NODE)
    assert status["state"] == "Pending"
    assert "were unschedulable" in status["cause"]
    assert "uncordon it" in status["action"]

    status = runs.status_when("drained", lambda status: (status["earlier"] or {}).get("attempt") == 2)
    assert runs("wait", "drained").code == 0
    assert runs.resumed_from("drained") == saved_step(status["earlier"]["message"]) >= reached


def test_an_evicted_run_saves_and_costs_no_retry(runs: Runs, product_image: str) -> None:
    runs.train("evicted", product_image, "cluster.kind=job", "cluster.retries=0")
    reached = runs.status_after_step("evicted", 3)["progress"]["step"]
    pod = runs.pod("evicted")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": runs.namespace}}
    path = f"/api/v1/namespaces/{runs.namespace}/pods/{pod}/eviction"
    runs.cluster.kubectl("create", "--raw", path, "-f", "-", manifest=eviction)
    status = runs.status_when("evicted", lambda status: (status["earlier"] or {}).get("attempt") == 2)
    assert status["earlier"]["exit_code"] == 143
    assert runs("wait", "evicted").code == 0
    assert runs.resumed_from("evicted") == saved_step(status["earlier"]["message"]) >= reached


def test_a_process_that_takes_too_much_memory_is_named(runs: Runs, product_image: str) -> None:
    runs.train("hungry", product_image, "cluster.kind=job", "cluster.retries=0", TOO_LITTLE_MEMORY)
    status = runs.status_when("hungry", lambda status: status["state"] == "Failed", 120)
    assert "OOMKilled" in status["cause"]
    assert status["exit_code"] == 137
    assert "cluster.resources.memory" in status["action"]


# Less than importing torch twice takes: with a little more the trainer gets as far as refusing the recipe now and then.
TOO_LITTLE_MEMORY = "cluster.resources={cpu: 100m, memory: 400Mi, shared_memory: 64Mi, ephemeral_storage: 1Gi}"


def test_a_pytorchjob_that_gets_nowhere_gives_up(runs: Runs, product_image: str) -> None:
    """The training operator makes the pod again without end, so the entry point has to count."""
    runs.train("vain", product_image, "cluster.kind=pytorchjob", "cluster.retries=1", TOO_LITTLE_MEMORY)
    status = runs.status_when("vain", lambda status: status["state"] == "Failed", 120)
    assert "gave up: the last 2 attempts made no checkpoint, and cluster.retries is 1" in status["cause"]
    assert "the container has used more memory than its limit" in status["cause"]
    assert status["exit_code"] == 70


@pytest.fixture
def small_volume(runs: Runs) -> Iterator[str]:
    """A storage class with one volume: a file system that holds one checkpoint of the run and not two."""
    box, name = runs.cluster.sandbox, f"small-{runs.namespace}"
    if box is None:
        pytest.skip("the node's file systems aren't ours")
    made = volume(box.directory / "volumes", name, storage_class=name)
    path = str(box.directory / "volumes" / name)
    size = f"size={CHECKPOINT_MEGABYTES * 2}m,mode=0777"
    box.run("mount", "-t", "tmpfs", "-o", size, "tmpfs", path)
    provisioner = "kubernetes.io/no-provisioner"
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    items = [{**kind, "provisioner": provisioner}, made]
    runs.cluster.kubectl("create", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items})
    yield name
    runs.kubectl("delete", "pvc", "small", "--wait=false")
    runs.cluster.kubectl("delete", f"storageclass/{name}", f"persistentvolume/{name}", "--wait=false")
    box.run("umount", "--lazy", path)


def test_a_full_volume_keeps_the_older_checkpoint_and_is_named(
    runs: Runs, product_image: str, small_volume: str
) -> None:
    claim = f"cluster.runs={{claim: small, storage_class: {small_volume}}}"
    settings = ("cluster.kind=pytorchjob", "training.max_steps=6", claim)
    runs.train("full", product_image, *settings)
    status = runs.status_when("full", lambda status: status["state"] == "Failed", 120)
    assert status["exit_code"] == 74
    assert "/runs/full/checkpoints/step-000006 not saved, the disk is full" in status["cause"]
    assert "free space in the claim small" in status["action"]

    box = runs.cluster.sandbox
    assert box is not None
    box.run("mount", "-o", "remount,size=200m", str(box.directory / "volumes" / small_volume))
    runs.train("full", product_image, *settings)
    assert runs("wait", "full").code == 0
    assert runs.resumed_from("full") == 2
