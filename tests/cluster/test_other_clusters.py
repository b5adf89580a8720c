"""Clusters that lack an operator, or have another version of it: phi3k says so, and does what can be done."""

import json
import secrets
import time
from collections.abc import Iterator

import pytest

from .cluster import Cluster, up
from .command import Command
from .conftest import new_namespace

TRAINJOBS = "trainjobs.trainer.kubeflow.org"


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


@pytest.mark.parametrize(("kind", "words"), [("pytorchjob", "PyTorchJob (kubeflow.org/v1)"), ("trainjob", "TrainJob")])
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


def test_a_trainjob_of_an_unknown_version_is_refused(bare: Command, cluster: Cluster) -> None:
    definition = json.loads(cluster.kubectl("get", "crd", TRAINJOBS, "--output=json"))
    for version in definition["spec"]["versions"]:
        fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        fields["patchesOfTheFuture"] = fields.pop("runtimePatches")
    definition["metadata"] = {"name": TRAINJOBS, "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}
    definition.pop("status")
    bare.cluster.kubectl("apply", "--server-side", "-f", "-", manifest=definition)
    deadline = time.monotonic() + 30
    while (result := bare("submit", "demo", "--kind", "trainjob")).code != 69 or "no TrainJob" in result.err:
        assert time.monotonic() < deadline, result.err
        time.sleep(0.5)
    assert "its version is one that phi3k does not know" in result.err
    assert "--kind job" in result.err
