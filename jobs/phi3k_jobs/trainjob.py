"""A run as a TrainJob (trainer.kubeflow.org/v1alpha1, Kubeflow Trainer 2.x)."""

from typing import Literal, get_args

from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import FIELD_MANAGER
from phi3k_jobs.pod import (
    ARGUMENTS,
    ENTRYPOINT,
    container_security_context,
    environment,
    placement,
    pod_metadata,
    pod_security_context,
    resources,
    volume_mounts,
    volumes,
)
from phi3k_jobs.pytorchjob import job_labels
from phi3k_jobs.shape import num_nodes, processes_per_replica, seconds
from phi3k_jobs.support import config_map_name
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Recipe

RUNTIME = "torch-distributed"
# The field that changes the runtime's pods was renamed with every minor version of Kubeflow Trainer.
Overrides = Literal["podSpecOverrides", "podTemplateOverrides", "runtimePatches"]
NEWEST_OVERRIDES: Overrides = "runtimePatches"
_UNKNOWN_BEFORE_RUNTIME_PATCHES = ("securityContext", "terminationGracePeriodSeconds")


def trainjob(recipe: Recipe, wandb_run_id: str | None, overrides: Overrides = NEWEST_OVERRIDES) -> Manifest:
    """Return the TrainJob for a cluster whose CRD has the field `overrides`.

    Raises:
        RecipeError: the recipe asks for a priority class, which a TrainJob can't carry.
    """
    if recipe.cluster.priority_class:
        raise RecipeError(
            "a TrainJob can't set cluster.priority_class on its pods: leave it out, give the runtime that class, "
            "or use cluster.kind pytorchjob or job"
        )
    cluster = recipe.cluster
    spec: Manifest = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
        "trainer": {
            "image": cluster.image,
            "command": list(ENTRYPOINT),
            "args": list(ARGUMENTS),
            "env": environment(recipe, wandb_run_id),
            "numNodes": num_nodes(cluster),
            "numProcPerNode": processes_per_replica(cluster),
            "resourcesPerNode": resources(cluster),
        },
        overrides: [_override(recipe, wandb_run_id, overrides)],
    }
    if cluster.deadline:
        spec["activeDeadlineSeconds"] = seconds(cluster.deadline)
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": spec,
    }


def _override(recipe: Recipe, wandb_run_id: str | None, overrides: Overrides) -> Manifest:
    pod = pod_patch(recipe)
    metadata = pod_metadata(recipe, wandb_run_id)
    if overrides == "runtimePatches":
        template = {"spec": {"template": {"metadata": metadata, "spec": pod}}}
        return {
            "manager": f"{FIELD_MANAGER}.io/submit",
            "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}}},
        }
    for name in _UNKNOWN_BEFORE_RUNTIME_PATCHES:
        pod.pop(name)
    for container in pod["containers"]:
        container.pop("securityContext")
    override: Manifest = {"targetJobs": [{"name": "node"}], "spec": pod}
    if overrides == "podTemplateOverrides":
        override["metadata"] = metadata
    return override


def pod_patch(recipe: Recipe) -> Manifest:
    """Return what phi3k adds to the runtime's pod."""
    return {
        "serviceAccountName": recipe.name,
        "securityContext": pod_security_context(),
        "terminationGracePeriodSeconds": seconds(recipe.cluster.grace),
        "containers": [
            {"name": "node", "securityContext": container_security_context(), "volumeMounts": volume_mounts()}
        ],
        "volumes": volumes(recipe.cluster, config_map_name(recipe)),
        **placement(recipe),
    }


def patched_volumes(job: Manifest) -> list[Manifest]:
    """Return the volumes of a TrainJob's pods, in whichever field they are patched in."""
    spec = job["spec"]
    for field in get_args(Overrides):
        for patch in spec.get(field, []):
            if field == "runtimePatches":
                (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
                patch = node["template"]["spec"]["template"]
            volumes: list[Manifest] = patch["spec"]["volumes"]
            return volumes
    return []
