"""Every kind can read what it renders; the registry and the recipe name the same kinds."""

import subprocess
import sys
from typing import get_args

import pytest

from phi3k_jobs.api.discovery import Capabilities
from phi3k_jobs.api.resources import RESOURCES
from phi3k_jobs.causes.replicas import container_of, rank_of
from phi3k_jobs.kinds import DEFAULT_KIND, KINDS
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.render import objects
from phi3k_trainer.contract import KindName
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe
from tests.unit.jobs.making import merged


def rendered(kind: KindName, *overrides: str) -> list[Manifest]:
    shared = ["cluster.cache.access_modes=[ReadWriteMany]", "cluster.runs.access_modes=[ReadWriteMany]"]
    return objects(load_recipe(ready_recipe("demo"), [*shared, *overrides]), kind=kind)


def template(kind: KindName, made: list[Manifest]) -> Manifest:
    """The template of the trainer's pods."""
    runtime = KINDS[kind].runtime
    holder = made[-1] if runtime is None else next(entry for entry in made if entry["kind"] == runtime.kind)
    return KINDS[kind].pods(holder)


def test_the_recipe_names_the_kinds_that_there_are_best_first() -> None:
    assert get_args(KindName) == tuple(KINDS)


def test_the_kind_that_every_cluster_has_needs_no_operator() -> None:
    assert KINDS[DEFAULT_KIND].job.api_version == "batch/v1"


@pytest.mark.parametrize("lacking", range(len(KINDS)))
def test_auto_takes_the_best_that_the_cluster_has_and_none_after_that_which_every_cluster_has(lacking: int) -> None:
    in_order = list(KINDS)
    there = tuple(kind for kind in in_order if kind == DEFAULT_KIND or kind in in_order[lacking:])
    chosen = Capabilities(there, kueue=True).choose(load_recipe(ready_recipe("demo"), ["cluster.kind=auto"]))
    assert chosen == there[0]
    assert in_order.index(chosen) <= in_order.index(DEFAULT_KIND)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_object_is_the_job_and_the_kind_names_what_else_it_needs(kind: KindName) -> None:
    made = rendered(kind)
    job = KINDS[kind].job
    assert (made[-1]["apiVersion"], made[-1]["kind"]) == (job.api_version, job.kind)
    assert {resource.kind for resource in KINDS[kind].needs} <= {entry["kind"] for entry in made[:-1]}


@pytest.mark.parametrize("kind", KINDS)
def test_the_api_keeps_every_object_of_a_kind(kind: KindName) -> None:
    for entry in rendered(kind):
        assert RESOURCES[entry["kind"]].api_version == entry["apiVersion"]


@pytest.mark.parametrize("nodes", [1, 2, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_job_says_how_many_nodes_it_has(kind: KindName, nodes: int) -> None:
    job = rendered(kind, f"cluster.gpus={8 * nodes}")[-1]
    assert KINDS[kind].nodes(job) == nodes


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_job_is_pending_a_suspended_one_suspended_and_a_resumed_one_pending(kind: KindName) -> None:
    job = rendered(kind)[-1]
    suspended = merged(job, KINDS[kind].suspension(True))
    resumed = merged(suspended, KINDS[kind].suspension(False))
    assert [KINDS[kind].state(entry) for entry in (job, suspended, resumed)] == ["Pending", "Suspended", "Pending"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_template_names_the_claim_of_the_runs(kind: KindName) -> None:
    volumes = template(kind, rendered(kind, "cluster.runs.claim=results"))["spec"]["volumes"]
    assert {"claimName": "results"} in [volume.get("persistentVolumeClaim") for volume in volumes]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_shows_its_trainer_beside_a_sidecar_and_its_rank(kind: KindName) -> None:
    pod = template(kind, rendered(kind))
    pod["spec"]["containers"].insert(0, {"name": "sidecar"})
    pod["metadata"]["labels"][KINDS[kind].index_label] = "7"
    assert container_of(pod) == KINDS[kind].container
    assert rank_of(pod) == 7


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("pytorchjob", {"conditions": [{"type": "Running", "status": "True"}]}, "Running"),
        ("pytorchjob", {"conditions": [{"type": "Restarting", "status": "True"}]}, "Restarting"),
        ("pytorchjob", {"conditions": [{"type": "Succeeded", "status": "True"}]}, "Succeeded"),
        ("trainjob", {"jobsStatus": [{"name": "node", "ready": 1}]}, "Running"),
        ("trainjob", {"conditions": [{"type": "Complete", "status": "True"}]}, "Succeeded"),
        ("jobset", {"replicatedJobsStatus": [{"name": "node", "ready": 1}]}, "Running"),
        ("jobset", {"replicatedJobsStatus": [{"name": "node", "ready": 0, "active": 1}]}, "Pending"),
        ("jobset", {"conditions": [{"type": "Suspended", "status": "True"}]}, "Suspended"),
        ("jobset", {"conditions": [{"type": "Completed", "status": "True"}]}, "Succeeded"),
        ("jobset", {"conditions": [{"type": "Failed", "status": "True"}]}, "Failed"),
        ("job", {"active": 1, "ready": 0}, "Pending"),
        ("job", {"active": 1, "ready": 1}, "Running"),
        ("job", {"conditions": [{"type": "Complete", "status": "True"}]}, "Succeeded"),
        ("job", {"conditions": [{"type": "Failed", "status": "True"}]}, "Failed"),
        ("job", {"conditions": [{"type": "Failed", "status": "False"}]}, "Pending"),
    ],
)
def test_the_state_of_a_job_is_what_its_controller_says(kind: KindName, status: Manifest, state: str) -> None:
    assert KINDS[kind].state({**rendered(kind)[-1], "status": status}) == state


def test_looking_at_runs_imports_no_recipe() -> None:
    """Its import takes longer than the answer of the API server."""
    looking = "import sys, phi3k_jobs.watch.earlier, phi3k_jobs.watch.following; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
