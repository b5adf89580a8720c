"""The product's image trains the demo's recipe, in one pod and in two as each kind of job."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tools.cluster.cluster import Cluster

from phi3k_jobs.kinds import KINDS
from phi3k_trainer.errors import UnavailableError

from .command import Command
from .conftest import new_namespace

# These tests share their runs, and patch the node.
SHORT = (
    "data.sample.rows=60",
    "data.eval_fraction=0.2",
    "training.max_steps=3",
    "evaluation.max_samples=4",
    "evaluation.max_new_tokens=4",
    # The loss with all its digits.
    "cluster.log_format=json",
)
TWO_PODS = ("cluster.nodes=2", "training.parallel=fsdp")
LARGEST_DIFFERENCE = 1e-5


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster) -> Iterator[Command]:
    """The command in a namespace of this module, which enforces the `restricted` policy."""
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Command(cluster, name, str(cluster.kubeconfig))


Submit = Callable[..., None]
Train = Callable[[str, int], Any]


@pytest.fixture(scope="module")
def submit(phi3k: Command, product_image: str) -> Submit:
    """Submits the demo's recipe, shortened, with arguments of `phi3k submit` and more settings."""

    def send(name: str, *arguments: str, settings: tuple[str, ...] = (), memory: str = "4Gi") -> None:
        resources = f"{{cpu: 100m, memory: {memory}, shared_memory: 64Mi, ephemeral_storage: 1Gi}}"
        settings = (*SHORT, f"cluster.image={product_image}", f"cluster.resources={resources}", *settings)
        options = [option for setting in settings for option in ("--set", setting)]
        result = phi3k("submit", "demo", "--name", name, *options, *arguments)
        assert result.code == 0, result.err

    return send


@pytest.fixture(scope="module")
def trained(phi3k: Command, submit: Submit) -> Train:
    """Trains as a kind of job in so many pods with one process each, once; returns what `phi3k status` says then."""

    @functools.cache
    def train(kind: str, pods: int) -> Any:
        name = f"{kind}-{pods}"
        submit(name, "--gpus=0", f"--kind={kind}", settings=TWO_PODS if pods == 2 else ())
        return finished(phi3k, name)

    return train


def finished(phi3k: Command, name: str) -> Any:
    """What `phi3k status` says once the run has succeeded."""
    waited = phi3k("wait", name)
    assert waited.code == 0, waited.err + phi3k("logs", name).out
    return phi3k.status(name)


def losses(phi3k: Command, name: str) -> dict[str, float]:
    """The losses that a run has logged, by step and name, with all their digits."""
    lines = [line for line in phi3k("logs", name).out.splitlines() if "metrics" in line]
    records = [json.loads(line[line.index("{") :]) for line in lines]
    return {
        f"{record['step']} {metric}": value
        for record in records
        for metric, value in record["metrics"].items()
        if metric.endswith("/loss")
    }


def test_gpus_that_the_pod_cannot_use_are_refused_with_what_is_there(phi3k: Command, gpus: int, submit: Submit) -> None:
    """The node's GPUs are names without a device behind them."""
    submit("eight", f"--gpus={gpus}", memory="8Gi")
    assert phi3k("wait", "eight").code == UnavailableError.exit_code
    assert "cluster.gpus is 8, torch sees none." in phi3k.status("eight")["cause"]
    (pod,) = pods_of(phi3k, "eight")
    (container,) = pod["spec"]["containers"]
    assert {container["resources"][kind]["nvidia.com/gpu"] for kind in ("requests", "limits")} == {"8"}


def test_a_run_that_succeeded_says_its_loss_and_its_checkpoint(phi3k: Command, trained: Train) -> None:
    loss = trained("job", 1)["progress"]["loss"]
    told = phi3k("status", "job-1").out
    assert "job-1: Succeeded" in told
    assert f"step 3 of 3, loss {loss:.4f}" in told
    assert "last checkpoint: /runs/job-1/checkpoints/step-000003" in told


@pytest.mark.parametrize("kind", KINDS)
def test_two_pods_that_share_the_weights_end_with_the_loss_of_one_process(
    phi3k: Command, trained: Train, kind: str
) -> None:
    trained("job", 1)
    together = trained(kind, 2)
    assert (together["state"], together["nodes"]) == ("Succeeded", 2)
    one, two = losses(phi3k, "job-1"), losses(phi3k, f"{kind}-2")
    assert {"3 train/loss", "3 eval/loss"} < one.keys()
    assert two == pytest.approx(one, abs=LARGEST_DIFFERENCE), phi3k("logs", f"{kind}-2").out
    assert together["progress"]["loss"] == two["3 train/loss"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_of_each_pod_that_is_left_is_shown_by_phi3k_and_by_kubectl(
    phi3k: Command, trained: Train, kind: str
) -> None:
    trained(kind, 2)
    run = f"{kind}-2"
    ours = phi3k("logs", run).out.splitlines()
    selector = ("--namespace", phi3k.namespace, f"--selector=phi3k/run={run}")
    plain = phi3k.cluster.kubectl("logs", *selector, "--prefix", "--tail=-1").splitlines()
    # The operator takes an elastic PyTorchJob for done with its first pod, and deletes the other with its log.
    ranks = range(1 if kind == "pytorchjob" else 2)
    for rank in ranks:
        said = f"rank {rank} of 2 on cpu, weights sharded (FSDP2)"
        assert [line[:4] for line in ours if said in line] == [f"[{rank}] "]
        assert len([line for line in plain if said in line]) == 1
    assert len({line.split()[0] for line in plain}) == len(ranks)


@pytest.mark.usefixtures("gpus")
def test_sixteen_gpus_wait_for_more_than_the_eight_that_are_there(phi3k: Command, submit: Submit) -> None:
    submit("sixteen", "--gpus=16")
    try:
        phi3k.status_when("sixteen", lambda status: "Insufficient nvidia.com/gpu" in status["cause"])
        told = phi3k("status", "sixteen").out
        assert "sixteen: Pending, 1 of 2 pods find no node: 0/1 nodes are available: 1 Insufficient" in told
        assert "1 Insufficient nvidia.com/gpu" in told
        assert "what to do: wait for other pods to finish, or ask for less with --gpus" in told
    finally:
        phi3k("cancel", "sixteen", "--yes")


def pods_of(phi3k: Command, run: str) -> list[dict[str, Any]]:
    """The pods of a run."""
    selector = ("--namespace", phi3k.namespace, f"--selector=phi3k/run={run}")
    found: list[dict[str, Any]] = json.loads(phi3k.cluster.kubectl("get", "pods", *selector, "--output=json"))["items"]
    return found
