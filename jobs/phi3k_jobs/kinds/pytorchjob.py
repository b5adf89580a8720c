"""A run as a PyTorchJob (kubeflow.org/v1, training-operator 1.9)."""

import re
from typing import TYPE_CHECKING

from phi3k_jobs.kinds.kind import Kind, settled_state
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import job_labels
from phi3k_jobs.objects.resource import Resource

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe


def _render(recipe: "Recipe", wandb_run_id: str | None) -> list[Manifest]:
    """Return the PyTorchJob: a Master alone on one node, elastic Workers on several.

    A Master besides Workers makes the operator inject an init container that a `restricted` namespace refuses, so
    several nodes have Workers only, which meet through c10d on the first of them.
    """
    from phi3k_jobs.objects.around import config_map_name
    from phi3k_jobs.objects.pod import environment, pod_template, trainer_container
    from phi3k_jobs.objects.shape import num_nodes, processes_per_replica

    nodes = num_nodes(recipe.cluster)
    trainer = trainer_container(recipe, PYTORCHJOB.container, environment(recipe, wandb_run_id))
    template = pod_template(recipe, wandb_run_id, config_map_name(recipe), trainer)
    # ExitCode: our permanent errors (64-78) fail the job at once, 143 and signals recreate the pod.
    replica = {"replicas": nodes, "restartPolicy": "ExitCode", "template": template}
    spec: Manifest = {
        "nprocPerNode": str(processes_per_replica(recipe.cluster)),
        "runPolicy": _run_policy(recipe, nodes),
        "pytorchReplicaSpecs": {"Master" if nodes == 1 else "Worker": replica},
    }
    if nodes > 1:
        spec["elasticPolicy"] = {
            "rdzvBackend": "c10d",
            "rdzvId": recipe.name,
            "minReplicas": nodes,
            "maxReplicas": nodes,
        }
    job = {
        "apiVersion": PYTORCHJOB.job.api_version,
        "kind": PYTORCHJOB.job.kind,
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": spec,
    }
    return [job]


def _run_policy(recipe: "Recipe", nodes: int) -> Manifest:
    """Return what becomes of the job: a failed one gives its GPUs back, a finished one goes after a while."""
    from phi3k_trainer.recipe.durations import seconds

    policy: Manifest = {
        "cleanPodPolicy": "Running",
        "backoffLimit": recipe.cluster.retries,
    }
    if recipe.cluster.keep_finished:
        policy["ttlSecondsAfterFinished"] = seconds(recipe.cluster.keep_finished)
    if recipe.cluster.deadline:
        policy["activeDeadlineSeconds"] = seconds(recipe.cluster.deadline)
    if nodes > 1:
        policy["schedulingPolicy"] = {"minAvailable": nodes}
    return policy


def _state(job: Manifest) -> str:
    is_suspended = bool(job["spec"].get("runPolicy", {}).get("suspend"))
    settled = settled_state(job, is_suspended=is_suspended, success="Succeeded")
    if settled is not None:
        return settled
    conditions = job.get("status", {}).get("conditions", [])
    true = {entry["type"] for entry in conditions if entry.get("status") == "True"}
    return next((state for state in ("Restarting", "Running") if state in true), "Pending")


def _replica(job: Manifest) -> Manifest:
    (replica,) = job["spec"]["pytorchReplicaSpecs"].values()
    return dict(replica)


PYTORCHJOB = Kind(
    name="pytorchjob",
    job=Resource("kubeflow.org/v1", "PyTorchJob", "pytorchjobs"),
    container="pytorch",
    index_label="training.kubeflow.org/replica-index",
    render=_render,
    nodes=lambda job: int(_replica(job)["replicas"]),
    state=_state,
    suspension=lambda suspended: {"spec": {"runPolicy": {"suspend": suspended}}},
    pods=lambda job: dict(_replica(job)["template"]),
    failure_events=(
        re.compile(
            r"Error pod (?P<pod>\S+) container \S+ exitCode: (?P<code>\d+) terminated message: (?P<message>[^\0]*)"
        ),
        re.compile(r"Pod: [^.\s]+\.(?P<pod>\S+) exited with code (?P<code>\d+)"),
    ),
)
