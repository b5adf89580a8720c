"""1,000 nodes and 2,000 runs: the verbs page through them, miss none, and take little longer than starting does.

Seconds are for `bench/cluster_scale.py`: what other tests run beside this one would decide them here.
"""

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from tools.cluster.cluster import Cluster, obstacle
from tools.cluster.crowd import NAMESPACE, NODES, CrowdedRun, crowd, crowded_cluster
from tools.cluster.processes import cost, phi3k

from phi3k_jobs.api.cluster import PAGE_SIZE
from phi3k_jobs.api.resources import RESOURCES
from phi3k_jobs.kinds import KINDS

from .command import Command

# What no command can be faster than: the client's own start, and the reading of the paths it is told.
FLOOR = """
import json, sys, kubernetes, typer
api = kubernetes.config.new_client_from_config(sys.argv[1])
for path in sys.argv[2:]:
    answer = api.call_api(path, "GET", auth_settings=["BearerToken"], _preload_content=False)[0]
    json.loads(answer.data)
"""
RUNS = tuple(kind.job.path(NAMESPACE) for kind in KINDS.values())
NODE_LIST = RESOURCES["Node"].path(NAMESPACE)
TRIES = 5


@pytest.fixture(scope="module")
def crowded() -> Iterator[Cluster]:
    """The cluster with the crowd. Without root on Linux there is none, which only CI calls a failure."""
    reason = obstacle()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(reason)
    with crowded_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def command(crowded: Cluster) -> Command:
    """The command in the crowd's namespace."""
    return Command(crowded, NAMESPACE, str(crowded.kubeconfig))


def a_run(kind: str, state: str) -> str:
    """The name of a run of that kind and in that state."""
    return next(run.name for run in crowd() if (run.kind, run.state) == (kind, state))


def pages(cluster: Cluster) -> Counter[str]:
    """How many lists of a namespace's jobs the API server has answered, by resource."""
    plurals = "|".join(kind.job.plural for kind in KINDS.values())
    counts: Counter[str] = Counter()
    for line in cluster.kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith("apiserver_request_total{") and 'verb="LIST"' in line and 'scope="namespace"' in line:
            resource = re.search(rf'resource="({plurals})"', line)
            if resource:
                counts[resource[1]] += int(float(line.rpartition(" ")[2]))
    return counts


def test_each_run_is_listed_once_and_in_its_state(command: Command) -> None:
    listed = command("list", "--output", "json").json
    assert Counter(CrowdedRun(run["name"], run["kind"], run["state"]) for run in listed) == Counter(crowd())


def test_the_newest_runs_come_first(command: Command) -> None:
    created = [run["created"] for run in command("list", "--output", "json").json]
    assert created == sorted(created, reverse=True)


def test_runs_are_read_in_pages(command: Command) -> None:
    before = pages(command.cluster)
    command("list")
    kinds = Counter(f"{run.kind}s" for run in crowd())
    assert pages(command.cluster) - before == {kind: math.ceil(count / PAGE_SIZE) for kind, count in kinds.items()}


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("pytorchjob", "Running", "step 600 of 1000"),
        ("job", "Running", "step 600 of 1000"),
        ("pytorchjob", "Pending", f"{NODES + 1} Insufficient nvidia.com/gpu"),
        ("job", "Pending", f"{NODES + 1} Insufficient nvidia.com/gpu"),
        ("pytorchjob", "Failed", "12% of the rows have no picture"),
        ("job", "Failed", "12% of the rows have no picture"),
        ("trainjob", "Suspended", "somebody suspended the run"),
    ],
)
def test_the_status_of_one_of_many_names_its_cause(command: Command, kind: str, state: str, words: str) -> None:
    result = command("status", a_run(kind, state))
    assert result.code == 0, result.err
    assert words in result.out


def test_submit_finds_a_node_among_a_thousand(command: Command) -> None:
    result = command("submit", "demo", "--gpus", "8", "--name", "one-more", "--dry-run")
    assert result.code == 0, result.err
    assert "would run" in result.out
    assert "no node" not in result.err


def test_submit_knows_that_none_of_a_thousand_nodes_is_that_big(command: Command) -> None:
    sets = ("--set", "cluster.gpus_per_node=16")
    result = command("submit", "demo", "--gpus", "16", "--name", "one-more", "--dry-run", *sets)
    assert result.code == 0, result.err
    assert "no node that is up has more than 8" in result.err


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (("list",), RUNS),
        (("list", "--output", "json"), RUNS),
        (("status", a_run("pytorchjob", "Running")), ()),
        (("status", a_run("job", "Pending")), ()),
        (("submit", "demo", "--gpus", "8", "--name", "one-more", "--dry-run"), (NODE_LIST,)),
    ],
    ids=["list", "list as JSON", "status", "status of one that waits", "submit --dry-run"],
)
def test_the_whole_command_works_little_more_than_its_start_and_reading(
    command: Command, arguments: tuple[str, ...], paths: tuple[str, ...]
) -> None:
    place = ("--kubeconfig", command.kubeconfig, "--namespace", command.namespace)
    floor = [sys.executable, "-c", FLOOR, command.kubeconfig, *paths]
    pairs = [(cost(phi3k(*arguments, *place)), cost(floor)) for _ in range(TRIES)]
    whole, least = (min(column, key=lambda cost: cost.worked) for column in zip(*pairs, strict=True))
    print(f"{whole.passed:.2f} s, {whole.worked:.2f} s of work; start and reading alone {least.worked:.2f} s")
    assert whole.worked < 1.5 * least.worked
