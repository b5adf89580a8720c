"""The chart on a real cluster: install, test, upgrade, uninstall, and checkpoints that stay."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import recipe as stand_in_recipe
from tools.cluster.tools import HELM_AND_COREDNS, build

from phi3k_jobs.helm_values import helm_values
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

CHART = Path(__file__).parents[2] / "charts" / "phi3k"
FINISHED = {"pytorchjob": "Succeeded", "trainjob": "Complete", "job": "Complete", "jobset": "Completed"}
# Small enough to train within a minute on a busy machine, with everything a run has: evaluation and a checkpoint.
SMALL = (
    "data.sample.rows=60",
    "data.eval_fraction=0.2",
    "training.max_steps=3",
    "evaluation.max_samples=4",
    "evaluation.max_new_tokens=4",
    "cluster.gpus=0",
    "cluster.resources={cpu: 100m, memory: 4Gi, shared_memory: 64Mi, ephemeral_storage: 1Gi}",
)


@dataclass(frozen=True)
class Releases:
    """Runs helm in one namespace of the cluster."""

    cluster: Cluster
    namespace: str
    program: Path

    def try_helm(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run helm, and return however it ended."""
        where = (f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={self.namespace}")
        return subprocess.run(
            [str(self.program), *arguments, *where], input=stdin, capture_output=True, text=True, check=False
        )

    def helm(self, *arguments: str, stdin: str = "") -> str:
        """Run helm, which must succeed, and return what it printed."""
        result = self.try_helm(*arguments, stdin=stdin)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def install(self, name: str, values: str, *settings: str, verb: str = "install") -> str:
        """Install or upgrade a release with those values; again, as docs/chart.md says, where the operator is late."""
        arguments = (name, str(CHART), "--values=-", *settings)
        result = self.try_helm(verb, *arguments, stdin=values)
        if "specified trainingRuntime must be created before the TrainJob" in result.stderr:
            return self.helm("upgrade", "--install", *arguments, stdin=values)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def kubectl(self, *arguments: str, manifest: object | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.cluster.kubectl(*arguments, f"--namespace={self.namespace}", manifest=manifest)

    def claims(self) -> dict[str, str]:
        """The identity of each claim by its name."""
        items = json.loads(self.kubectl("get", "persistentvolumeclaim", "--output=json"))["items"]
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}

    def wait_until_finished(self, name: str, kind: str, seconds: int = 120) -> None:
        """Wait until the run has ended well."""
        self.kubectl("wait", f"{kind}/{name}", f"--for=condition={FINISHED[kind]}", f"--timeout={seconds}s")


@pytest.fixture
def releases(cluster: Cluster, restricted_namespace: str) -> Releases:
    return Releases(cluster, restricted_namespace, build(HELM_AND_COREDNS) / "helm")


def written(script: str, overrides: Sequence[str] = ()) -> str:
    """The values of the demo's recipe that runs a script in the image that stands in for the trainer's."""
    return helm_values(stand_in_recipe(script, *overrides))


def test_a_release_trains_is_tested_upgraded_and_uninstalled(releases: Releases, product_image: str) -> None:
    """Everything real: the product's image trains, `helm test` looks at it, the checkpoints outlive the release."""
    recipe = load_recipe(ready_recipe("demo"), [*SMALL, "cluster.kind=pytorchjob"])
    install = (f"--set=image={product_image}", "--set=image_pull_policy=Never")
    releases.install("my-run", helm_values(recipe), *install)
    releases.wait_until_finished("my-run", "pytorchjob", 300)
    tested = releases.helm("test", "my-run", "--logs", "--timeout=180s")
    assert "Phase:          Succeeded" in tested
    assert "/runs" in tested
    releases.install("my-run", helm_values(recipe), *install, verb="upgrade")
    before = releases.claims()
    releases.helm("uninstall", "my-run", "--wait")
    assert releases.claims() == before
    assert set(before) == {"phi3k-cache", "phi3k-runs"}
    assert "step-000003" in listed(releases, product_image, "my-run")


def listed(releases: Releases, image: str, run: str) -> str:
    """The checkpoints of a run, as a pod sees them on the claim."""
    container = {
        "name": "list",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["ls", f"/runs/{run}/checkpoints"],
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    specification: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "phi3k-runs"}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "list"}, "spec": specification}
    releases.kubectl("create", "-f", "-", manifest=pod)
    releases.kubectl("wait", "pod/list", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    return releases.kubectl("logs", "list")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kind", FINISHED)
def test_each_kind_of_job_ends_and_its_claims_stay(releases: Releases, kind: str) -> None:
    releases.install("my-run", written("echo $0 was told $*"), f"--set=kind={kind}")
    releases.wait_until_finished("my-run", kind)
    claims = releases.claims()
    releases.helm("uninstall", "my-run", "--wait")
    assert releases.claims() == claims
    assert set(claims) == {"phi3k-cache", "phi3k-runs"}
    objects = "configmap,serviceaccount,service,networkpolicy,pytorchjob,trainjob,trainingruntime,job,jobset"
    names = releases.kubectl("get", objects, "--selector=phi3k/run=my-run", "--output=name")
    assert names == ""


@pytest.mark.usefixtures("stand_in")
def test_auto_is_what_the_cluster_has(releases: Releases) -> None:
    releases.install("my-run", written("true"))
    releases.wait_until_finished("my-run", "pytorchjob")


@pytest.mark.usefixtures("stand_in")
def test_an_upgrade_changes_no_run_on_its_way(releases: Releases) -> None:
    recipe = written("sleep 600", ["cluster.kind=job"])
    releases.install("my-run", recipe)
    releases.install("my-run", recipe, verb="upgrade")
    for arguments, values in (((), recipe.replace("seed: 0", "seed: 1")), (("--set=retries=9",), recipe)):
        refused = releases.try_helm("upgrade", "my-run", str(CHART), "--values=-", *arguments, stdin=values)
        assert refused.returncode != 0
        assert "a running job can't be changed" in refused.stderr
    releases.helm("rollback", "my-run", "1")
    (pod,) = json.loads(releases.kubectl("get", "pod", "--selector=phi3k/run=my-run", "--output=json"))["items"]
    assert pod["status"]["phase"] in {"Pending", "Running"}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("kind", "other"), [("job", "pytorchjob"), ("trainjob", "job"), ("pytorchjob", "trainjob")])
def test_an_upgrade_to_another_kind_is_refused_and_the_run_goes_on(releases: Releases, kind: str, other: str) -> None:
    values = written("sleep 600")
    releases.install("my-run", values, f"--set=kind={kind}")
    refused = releases.try_helm("upgrade", "my-run", str(CHART), "--values=-", f"--set=kind={other}", stdin=values)
    assert refused.returncode != 0
    assert "the run my-run is there as a " in refused.stderr
    jobs = releases.kubectl("get", "pytorchjob,trainjob,job", "--selector=phi3k/run", "--output=name").split()
    assert [name for name in jobs if name.endswith("/my-run")] == jobs
    assert len(jobs) == 1


@pytest.mark.usefixtures("stand_in")
def test_the_jobset_that_kubeflow_trainer_makes_of_a_trainjob_is_no_other_kind(releases: Releases) -> None:
    values = written("sleep 600", ["cluster.kind=trainjob"])
    releases.install("my-run", values)
    releases.kubectl("wait", "jobset/my-run", "--for=create", "--timeout=60s")
    releases.helm("upgrade", "my-run", str(CHART), "--values=-", "--dry-run=server", stdin=values)


@pytest.mark.usefixtures("stand_in")
def test_a_second_release_shares_the_claims_and_outlives_the_first(releases: Releases) -> None:
    recipe = written("true", ["cluster.kind=job"])
    releases.install("first", recipe)
    claims = releases.claims()
    releases.install("second", recipe)
    assert releases.claims() == claims
    releases.helm("uninstall", "first", "--wait")
    releases.wait_until_finished("second", "job")
    assert releases.claims() == claims


@pytest.mark.usefixtures("stand_in")
def test_a_release_of_the_same_name_finds_its_claims_again(releases: Releases) -> None:
    recipe = written("true", ["cluster.kind=job"])
    releases.install("my-run", recipe)
    claims = releases.claims()
    releases.helm("uninstall", "my-run", "--wait")
    releases.install("my-run", recipe, "--set=runs.size=1Ti")
    assert releases.claims() == claims
    assert 'name: "phi3k-runs"' in releases.helm("get", "manifest", "my-run")
    releases.wait_until_finished("my-run", "job")


@pytest.mark.usefixtures("stand_in")
def test_a_storage_class_that_was_named_stays_when_it_is_named_no_more(releases: Releases) -> None:
    storage_class, *_ = releases.kubectl("get", "storageclass", "--output=name").split()
    recipe = written("true", ["cluster.kind=job"])
    releases.install("my-run", recipe, f"--set=runs.storage_class={storage_class.partition('/')[2]}")
    claims = releases.claims()
    releases.wait_until_finished("my-run", "job")
    releases.helm("uninstall", "my-run", "--wait")
    releases.install("my-run", recipe)
    assert releases.claims() == claims


@pytest.mark.usefixtures("stand_in")
def test_a_claim_that_is_there_is_neither_adopted_nor_changed(releases: Releases) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "phi3k-runs", "labels": {"owner": "storage-team"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}},
    }
    releases.kubectl("create", "-f", "-", manifest=claim)
    releases.kubectl("wait", "pvc/phi3k-runs", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")

    def stored() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(releases.kubectl("get", "pvc", "phi3k-runs", "--output=json"))
        return {"labels": found["metadata"]["labels"], "spec": found["spec"]}

    before = stored()
    recipe = written("true", ["cluster.kind=job"])
    releases.install("my-run", recipe)
    releases.install("my-run", recipe, verb="upgrade")
    assert stored() == before
    releases.helm("uninstall", "my-run", "--wait")
    assert stored() == before


@pytest.mark.usefixtures("stand_in")
def test_what_a_user_would_wonder_about_is_said(releases: Releases) -> None:
    notes = releases.install("my-run", written("true", ["cluster.kind=job"]))
    assert "my-run is a job of 1 x 1 CPU process" in notes
    releases.wait_until_finished("my-run", "job")
    follow = next(line.split() for line in notes.splitlines() if "kubectl logs" in line)
    assert releases.cluster.try_kubectl(*follow[1:]).returncode == 0
