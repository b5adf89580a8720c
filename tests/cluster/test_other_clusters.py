"""Clusters that lack an operator, or have another version of it: phi3k says so, and does what can be done."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tools.cluster.cluster import Cluster, up
from tools.cluster.tools import OPERATORS_AND_KWOK, other_version

from phi3k_jobs.render import objects
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

from .command import Command
from .conftest import new_namespace


@pytest.fixture(scope="module")
def bare(cluster: Cluster) -> Iterator[Command]:
    """The command on a second cluster, without any operator."""
    if cluster.sandbox is None:
        pytest.skip("PHI3K_TEST_KUBECONFIG names one cluster; this takes a second, without operators")
    other = up(f"bare-{secrets.token_hex(3)}", detached=False, operators=())
    try:
        with new_namespace(other) as name:
            yield Command(other, name, str(other.kubeconfig))
    finally:
        assert other.sandbox is not None
        other.sandbox.destroy()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pytorchjob", "PyTorchJob (kubeflow.org/v1)"),
        ("trainjob", "TrainJob"),
        ("jobset", "JobSet (jobset.x-k8s.io/v1alpha2)"),
    ],
)
def test_a_missing_operator_is_named_with_what_there_is_instead(bare: Command, kind: str, words: str) -> None:
    result = bare("submit", "demo", "--kind", kind)
    assert result.code == 69
    assert f"the cluster has no {words}" in result.err
    assert "Use --kind job" in result.err
    left = ("get", "configmaps,pvc,serviceaccounts", "--selector=app.kubernetes.io/name=phi3k", "--output=name")
    assert bare.cluster.kubectl(*left, "--namespace", bare.namespace) == ""


def test_auto_takes_the_indexed_job(bare: Command) -> None:
    result = bare("submit", "demo", "--dry-run", "--output", "json")
    assert result.code == 0, result.err
    assert result.json["kind"] == "job"


def test_a_queue_without_kueue_is_said_to_have_no_effect(bare: Command) -> None:
    result = bare("submit", "demo", "--dry-run", "--set", "cluster.queue=team-a")
    assert result.code == 0, result.err
    assert "the queue team-a has no effect: the cluster has no Kueue" in result.err


def test_runs_are_listed_where_their_kinds_are_missing(bare: Command) -> None:
    result = bare("list")
    assert result.code == 0
    assert "there are no runs" in result.err


@pytest.fixture(params=["v2.0.1", "v2.1.0", "v2.2.1", "v2.3.0"])
def trainer(bare: Command, request: pytest.FixtureRequest) -> Iterator[str]:
    """The API of one Kubeflow Trainer, as published; its operator does not run."""
    module = other_version(OPERATORS_AND_KWOK, "github.com/kubeflow/trainer/v2", request.param)
    source = module / "manifests" / "base" / "crds"
    arguments = [f"--filename={file}" for file in sorted(source.glob("trainer.kubeflow.org_*.yaml"))]
    bare.cluster.kubectl("create", *arguments)
    bare.cluster.wait_until_established(*arguments)
    yield request.param
    bare.cluster.kubectl("delete", *arguments)


def test_a_trainjob_is_the_same_to_every_version_of_kubeflow_trainer(bare: Command, trainer: str) -> None:
    """Each names its fields for changing a shared runtime otherwise; unknown fields are refused."""
    sets = ("--set", "cluster.deadline=1h", "--set", "cluster.priority_class=high")
    deadline = time.monotonic() + 30
    while (result := bare("submit", "demo", "--name", "same", "--kind", "trainjob", *sets)).code == 69:
        # The API server announces a new kind a moment after it serves it.
        assert time.monotonic() < deadline, result.err
        time.sleep(0.5)
    assert result.code == 0, result.err
    try:
        *_, runtime, job = objects(load_recipe(ready_recipe("demo"), ["name=same", *sets[1::2]]), kind="trainjob")
        for sent in (runtime, job):
            stored = bare.cluster.kubectl("get", sent["kind"], "same", "--namespace", bare.namespace, "--output=json")
            assert contains(json.loads(stored)["spec"], without_env(sent["spec"]))
    finally:
        assert bare("cancel", "same", "--yes").code == 0


def without_env(sent: Any) -> Any:
    """Without what differs between two submits, the W&B run, and what holds the name of the recipe's ConfigMap."""
    if isinstance(sent, dict):
        return {name: without_env(value) for name, value in sent.items() if name not in ("env", "volumes")}
    return [without_env(value) for value in sent] if isinstance(sent, list) else sent


def contains(stored: Any, sent: Any) -> bool:
    """Whether everything that was sent is stored; defaults may stand beside it."""
    if isinstance(sent, dict):
        return all(name in stored and contains(stored[name], value) for name, value in sent.items())
    if isinstance(sent, list):
        return len(stored) == len(sent) and all(map(contains, stored, sent))
    return bool(stored == sent)
