"""The role that docs/cluster.md ships: with it every verb works, and nothing beyond the namespace or in secrets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import FOREVER, overrides

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.role import ROLE_NAME, role

from .command import Command
from .conftest import new_namespace


@pytest.fixture(scope="module")
def colleague(cluster: Cluster, stand_in: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command of someone who has the role in one namespace and nothing else."""
    with new_namespace(cluster) as name:
        here = ("--namespace", name)
        cluster.kubectl("create", "-f", "-", *here, manifest=role())
        cluster.kubectl("create", "serviceaccount", "colleague", *here)
        subject = f"--serviceaccount={name}:colleague"
        cluster.kubectl("create", "rolebinding", "colleague", f"--role={ROLE_NAME}", subject, *here)
        content = yaml.safe_load(cluster.kubeconfig.read_text())
        token = cluster.kubectl("create", "token", "colleague", "--duration=1h", *here).strip()
        content["users"][0]["user"] = {"token": token}
        kubeconfig: Path = tmp_path_factory.mktemp("colleague") / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(content))
        yield Command(cluster, name, str(kubeconfig))


@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_works_with_the_role(colleague: Command, kind: str) -> None:
    submitted = colleague.submit(kind, f"echo begun; {FOREVER}", "--kind", kind)
    assert submitted.code == 0, submitted.err
    colleague.status_when(kind, lambda status: status["state"] == "Running")
    assert kind in [run["name"] for run in colleague("list", "--output", "json").json]
    assert "begun" in colleague("logs", kind).out
    suspended = colleague("suspend", kind)
    assert suspended.code == 0, suspended.err
    colleague.status_when(kind, lambda status: status["state"] == "Suspended")
    assert colleague("resume", kind).code == 0
    colleague.status_when(kind, lambda status: status["state"] == "Running")
    cancelled = colleague("cancel", kind, "--yes")
    assert cancelled.code == 0, cancelled.err
    colleague.wait_until_gone()


def test_waiting_and_following_work_with_the_role(colleague: Command) -> None:
    result = colleague.submit("short", "echo begun; sleep 1; echo ended; exit 65", "--kind", "job", "--follow")
    assert result.code == 65
    assert [line for line in result.out.splitlines() if line in ("begun", "ended")] == ["begun", "ended"]
    assert colleague("wait", "short").code == 65
    assert colleague("cancel", "short", "--yes").code == 0


def test_the_cache_can_be_listed_with_the_role(colleague: Command) -> None:
    sets = [argument for override in overrides("echo '[]'") for argument in ("--set", override)]
    listed = colleague("cache", "ls", "demo", "--output", "json", *sets)
    assert listed.code == 0, listed.err
    assert listed.json == []


def can(colleague: Command, verb: str, what: str) -> str:
    """What the API server says of a right."""
    resource, _, subresource = what.partition("/")
    asked = ("auth", "can-i", verb, resource, f"--subresource={subresource}", "--namespace", colleague.namespace)
    return colleague.cluster.try_kubectl(*asked, f"--kubeconfig={colleague.kubeconfig}").stdout.strip()


def test_fetching_and_pushing_are_allowed_by_the_role(colleague: Command) -> None:
    """What they copy is tested in test_transfer.py; without the rule they refuse before a pod is made."""
    assert can(colleague, "create", "pods/exec") == "yes"


def test_a_disruption_budget_and_a_missing_queue_are_told_with_the_role(colleague: Command) -> None:
    budget = colleague("submit", "demo", "--dry-run", "--set", "cluster.disruption_budget=true")
    assert budget.code == 0, budget.err
    queue = colleague("submit", "demo", "--dry-run", "--set", "cluster.queue=team-a")
    assert "no local queue team-a" in queue.err


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "secrets"),
        ("create", "pods"),
        ("create", "pods/attach"),
        ("create", "pods/portforward"),
        ("update", "roles.rbac.authorization.k8s.io"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("list", "nodes"),
    ],
)
def test_the_role_does_not_give(colleague: Command, verb: str, what: str) -> None:
    assert can(colleague, verb, what) == "no"


def test_another_namespace_stays_out_of_reach(colleague: Command) -> None:
    other = Command(colleague.cluster, "default", colleague.kubeconfig)
    for arguments in (("list",), ("submit", "demo"), ("status", "some-run"), ("cancel", "some-run", "--yes")):
        assert other(*arguments).code == 77
