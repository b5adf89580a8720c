"""A namespace with 2,000 runs: the verbs page through them and stay quick."""

import time
from collections.abc import Iterator
from copy import deepcopy

import pytest

from phi3k_jobs.render import objects

from .cluster import Cluster
from .command import Command
from .conftest import new_namespace
from .stand_in import recipe

RUNS = 2000


@pytest.fixture(scope="module")
def crowded(cluster: Cluster) -> Iterator[Command]:
    """The command in a namespace with 2,000 PyTorchJobs, which no operator takes up: only the API server has work."""
    job = objects(recipe("true"), kind="pytorchjob", wandb_run_id="abcd1234")[-1]
    job["spec"]["runPolicy"]["managedBy"] = "kueue.x-k8s.io/multikueue"
    items = []
    for number in range(RUNS):
        item = deepcopy(job)
        item["metadata"]["name"] = item["metadata"]["labels"]["phi3k/run"] = f"run-{number:04}"
        items.append(item)
    with new_namespace(cluster) as name:
        cluster.kubectl(
            "create", "--namespace", name, "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items}
        )
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.mark.parametrize("arguments", [("list",), ("list", "--output", "json"), ("status", "run-0999")])
def test_the_answer_comes_within_two_seconds(crowded: Command, arguments: tuple[str, ...]) -> None:
    crowded("list")  # the first call in a process imports the client
    began = time.process_time(), time.monotonic()
    result = crowded(*arguments)
    used, passed = time.process_time() - began[0], time.monotonic() - began[1]
    assert result.code == 0
    print(f"{passed:.2f} s, {used:.2f} s of them our own")
    assert passed < 2


def test_every_run_is_listed_once(crowded: Command) -> None:
    names = [run["name"] for run in crowded("list", "--output", "json").json]
    assert sorted(names) == [f"run-{number:04}" for number in range(RUNS)]
