"""Submitting to a real cluster: what is sent, what is refused, and that nothing is left behind."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tools.cluster.stand_in import FOREVER, overrides, recipe

from phi3k_jobs.api.connection import connect
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.render import objects
from phi3k_jobs.runs import jobs_named
from phi3k_jobs.submit import submission
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import OutputError, UnavailableError

from .command import Command, Running

pytestmark = pytest.mark.usefixtures("nothing_left")


def job(phi3k: Command, kind: KindName, name: str) -> dict[str, Any]:
    resource = KINDS[kind].job
    found = phi3k.cluster.kubectl(
        "get", f"{resource.plural}.{resource.group}", name, "--namespace", phi3k.namespace, "--output=json"
    )
    parsed: dict[str, Any] = json.loads(found)
    return parsed


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_tries_every_object_and_sends_none(phi3k: Command, kind: str) -> None:
    result = phi3k.submit("dry", "true", "--kind", kind, "--dry-run")
    assert result.code == 0, result.err
    assert "nothing was sent" in result.out
    assert phi3k.objects() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_each_kind_succeeds_and_wait_returns_zero(phi3k: Command, kind: str) -> None:
    result = phi3k.submit(f"good-{kind}", "echo trained", "--kind", kind, "--wait", "--output", "json")
    assert result.code == 0, result.err
    assert result.json["state"] == "Succeeded"
    assert result.json["kind"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_everything_goes_with_a_cancelled_run_but_its_claims(phi3k: Command, kind: str) -> None:
    phi3k.submit("brief", FOREVER, "--kind", kind)
    assert "ServiceAccount brief" in phi3k.objects()
    result = phi3k("cancel", "brief", "--yes")
    assert "Its checkpoints stay in the claim phi3k-runs" in result.out
    phi3k.wait_until_gone()
    claims = phi3k.cluster.kubectl("get", "pvc", "--namespace", phi3k.namespace, "--output=name")
    assert claims.split() == ["persistentvolumeclaim/phi3k-cache", "persistentvolumeclaim/phi3k-runs"]


def test_the_same_recipe_again_changes_nothing(phi3k: Command) -> None:
    first = phi3k.submit("twice", FOREVER, "--output", "json").json
    before = job(phi3k, first["kind"], "twice")["metadata"]
    again = phi3k.submit("twice", FOREVER, "--output", "json")
    assert again.code == 0
    assert again.json["created"] is False
    assert again.json["wandb_run_id"] == first["wandb_run_id"]
    assert "nothing was changed" in again.json["notes"][0]
    after = job(phi3k, first["kind"], "twice")["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])


def test_another_recipe_under_a_taken_name_is_refused(phi3k: Command) -> None:
    phi3k.submit("taken", FOREVER)
    result = phi3k.submit("taken", FOREVER + " ")
    assert result.code == 73
    assert "the name taken is taken" in result.err
    assert "--name" in result.err


def test_another_kind_under_a_taken_name_is_refused(phi3k: Command) -> None:
    phi3k.submit("settled", FOREVER, "--kind", "job")
    result = phi3k.submit("settled", FOREVER, "--kind", "trainjob")
    assert result.code == 73
    assert "the name settled is taken" in result.err
    assert "by a Job of another recipe" in result.err
    assert [entry for entry in phi3k.objects() if "TrainJob" in entry or "TrainingRuntime" in entry] == []


def test_the_jobset_that_kubeflow_trainer_makes_of_a_trainjob_is_no_run_of_its_own(phi3k: Command) -> None:
    phi3k.submit("whole", FOREVER, "--kind", "trainjob")
    phi3k.status_when("whole", lambda status: status["state"] == "Running")
    phi3k.cluster.kubectl("get", "jobset", "whole", "--namespace", phi3k.namespace)
    cluster = connect(kubeconfig=phi3k.kubeconfig, namespace=phi3k.namespace)
    assert [kind for kind, _, _ in jobs_named(cluster, "whole")] == ["TrainJob"]


@pytest.mark.parametrize("kinds", [("job", "job"), ("trainjob", "trainjob"), ("pytorchjob", "job")])
def test_of_two_who_submit_one_name_at_the_same_time_one_is_refused(phi3k: Command, kinds: tuple[str, str]) -> None:
    """In processes of their own, as two people would; what runs is what the winner has sent, whole."""
    with ExitStack() as stack:
        racers: list[Running] = []
        for script, kind in zip(("first", "second"), kinds, strict=True):
            sets = [argument for override in overrides(f"echo {script}") for argument in ("--set", override)]
            line = ("submit", "demo", "--name", "raced", "--kind", kind, *sets)
            racers.append(stack.enter_context(phi3k.beside(*line)))
        results = [racer.result() for racer in racers]
    codes = [result.code for result in results]
    assert sorted(codes) == [0, 73], [result.err for result in results]
    assert "raced" in results[codes.index(73)].err
    assert phi3k("wait", "raced").code == 0
    assert phi3k("logs", "raced").out == ("first\n", "second\n")[codes.index(0)]
    (run,) = phi3k("list", "--output", "json").json
    assert run["kind"] == kinds[codes.index(0)]


@pytest.mark.parametrize("kind", ["job", "pytorchjob"])
def test_who_was_overtaken_after_every_check_is_refused_and_takes_nothing_away(phi3k: Command, kind: KindName) -> None:
    assert phi3k.submit("overtaken", FOREVER, "--kind", "job").code == 0
    cluster = connect(kubeconfig=phi3k.kubeconfig, namespace=phi3k.namespace)
    rendered = objects(recipe("true", "name=overtaken"), kind=kind)
    own = [entry for entry in rendered if entry["kind"] != "PersistentVolumeClaim"]
    with pytest.raises(OutputError, match="somebody else has submitted overtaken"):
        submission.send_objects(cluster, [], own)
    for resource in ("serviceaccount", "job.batch", "service"):
        phi3k.cluster.kubectl("get", resource, "overtaken", "--namespace", phi3k.namespace)
    assert phi3k("list", "--output", "json").json[0]["kind"] == "job"


def test_what_a_killed_submit_has_left_is_taken_over(phi3k: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "SENDING_SECONDS", 2.0)
    left = ("create", "serviceaccount", "orphan", "--namespace", phi3k.namespace)
    phi3k.cluster.kubectl(*left)
    phi3k.cluster.kubectl("label", "serviceaccount", "orphan", "phi3k/run=orphan", "--namespace", phi3k.namespace)
    assert phi3k.submit("orphan", "true", "--kind", "job", "--wait").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_reaches_the_trainer_as_it_is_written(phi3k: Command, kind: str) -> None:
    text = "$(HOME) $$(HOME) ${HOME} $HOME $$ $"
    phi3k.submit("written", 'echo "$TEXT"', "--kind", kind, "--set", f"cluster.env.TEXT={text}", "--wait")
    assert phi3k("logs", "written").out == f"{text}\n"


def test_a_name_whose_service_account_is_someone_elses_is_refused(phi3k: Command) -> None:
    result = phi3k.submit("default", "true")
    assert result.code == 73
    assert "ServiceAccount default" in result.err
    assert phi3k.objects() == []


def test_a_failed_run_is_sent_again_and_stays_one_run_at_wandb(phi3k: Command) -> None:
    first = phi3k.submit("again", "exit 70", "--kind", "job", "--wait", "--output", "json")
    assert first.code == 70
    uid = job(phi3k, "job", "again")["metadata"]["uid"]
    second = phi3k.submit("again", "exit 70", "--kind", "job", "--output", "json")
    assert second.code == 0, second.err
    assert second.json["created"] is True
    assert second.json["wandb_run_id"] == first.json["wandb_run_id"]
    assert job(phi3k, "job", "again")["metadata"]["uid"] != uid


def test_a_cancelled_name_can_be_submitted_at_once(phi3k: Command) -> None:
    for script in (FOREVER, "echo second"):
        result = phi3k.submit("quick", script, "--kind", "job")
        assert result.code == 0, result.err
        if script == FOREVER:
            phi3k("cancel", "quick", "--yes")
    assert phi3k("wait", "quick").code == 0
    assert "ServiceAccount quick" in phi3k.objects()


REFUSE_JOBS_OUTSIDE_DRY_RUNS = """
object.metadata.name != "half" || request.dryRun
"""


@pytest.fixture
def policy_that_passes_dry_runs(phi3k: Command) -> Iterator[None]:
    """An admission policy that shows itself only when the last object is really sent."""
    name = f"{phi3k.namespace}-half"
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": REFUSE_JOBS_OUTSIDE_DRY_RUNS.strip(), "message": "not this late"}],
        },
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": phi3k.namespace}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
    }
    phi3k.cluster.kubectl("apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
    probe = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "half"}}
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}
    probe["spec"] = {"suspend": True, "template": {"spec": pod}}
    for _ in range(60):
        # A policy takes a moment to take effect.
        tried = phi3k.cluster.try_kubectl("create", "-f", "-", "--namespace", phi3k.namespace, manifest=probe)
        if "not this late" in tried.stderr:
            break
        phi3k.cluster.kubectl("delete", "job", "half", "--namespace", phi3k.namespace)
    yield
    phi3k.cluster.kubectl("delete", f"validatingadmissionpolicy/{name}", f"validatingadmissionpolicybinding/{name}")


def test_what_fails_half_way_leaves_nothing(phi3k: Command, policy_that_passes_dry_runs: None) -> None:
    result = phi3k.submit("half", "true", "--kind", "job")
    assert result.code == 78
    assert "not this late" in result.err
    assert "can't create Job half" in result.err
    assert phi3k.objects() == []


def test_a_webhook_that_is_late_is_asked_again(phi3k: Command) -> None:
    """It answers nothing while the first object is sent, and is gone a moment later."""
    name = phi3k.namespace
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts"]}
    webhook = {
        "name": "late.phi3k.test",
        "rules": [rule],
        "clientConfig": {"service": {"namespace": name, "name": "nobody"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }
    cluster = connect(kubeconfig=phi3k.kubeconfig, namespace=name)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "watched"}}
    phi3k.cluster.kubectl("create", "-f", "-", manifest=configuration)
    try:
        while not refuses(phi3k, account):
            time.sleep(0.1)
        with pytest.raises(UnavailableError, match="failed calling webhook"):
            cluster.create(account)
        gone = threading.Timer(1.0, phi3k.cluster.kubectl, ("delete", "validatingwebhookconfiguration", name))
        gone.start()
        assert cluster.create(account)["metadata"]["name"] == "watched"
        gone.join()
    finally:
        phi3k.cluster.kubectl("delete", "validatingwebhookconfiguration", name, "--ignore-not-found")


def refuses(phi3k: Command, manifest: dict[str, Any]) -> bool:
    """Whether the API server has taken up a webhook that stands in the way: it does so a moment after it is made."""
    tried = ("create", "--dry-run=server", "--namespace", phi3k.namespace, "-f", "-")
    return phi3k.cluster.try_kubectl(*tried, manifest=manifest).returncode != 0
