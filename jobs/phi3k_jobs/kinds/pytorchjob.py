"""A run as a PyTorchJob (kubeflow.org/v1, training-operator 1.9)."""

from phi3k_jobs.objects.around import config_map_name
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import QUEUE_LABEL, QUEUE_PRIORITY_LABEL, labels
from phi3k_jobs.objects.pod import environment, pod_template, trainer_container
from phi3k_jobs.objects.shape import num_nodes, processes_per_replica
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.durations import seconds


def pytorchjob(recipe: Recipe, wandb_run_id: str | None) -> Manifest:
    """Return the PyTorchJob: a Master alone on one node, elastic Workers on several.

    A Master besides Workers makes the operator inject an init container that a `restricted` namespace refuses, so
    several nodes have Workers only, which meet through c10d on the first of them.
    """
    nodes = num_nodes(recipe.cluster)
    trainer = trainer_container(recipe, "pytorch", environment(recipe, wandb_run_id))
    template = pod_template(recipe, wandb_run_id, config_map_name(recipe), trainer)
    # ExitCode: our permanent errors (64-78) fail the job at once, 143 and signals recreate the pod.
    replica = {"replicas": nodes, "restartPolicy": "ExitCode", "template": template}
    spec: Manifest = {
        "nprocPerNode": str(processes_per_replica(recipe.cluster)),
        "runPolicy": run_policy(recipe, nodes),
        "pytorchReplicaSpecs": {"Master" if nodes == 1 else "Worker": replica},
    }
    if nodes > 1:
        spec["elasticPolicy"] = {
            "rdzvBackend": "c10d",
            "rdzvId": recipe.name,
            "minReplicas": nodes,
            "maxReplicas": nodes,
        }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": spec,
    }


def run_policy(recipe: Recipe, nodes: int) -> Manifest:
    """Return what becomes of the job: a failed one gives its GPUs back, a finished one goes after a while."""
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


def job_labels(recipe: Recipe) -> dict[str, str]:
    """Return the labels of the job itself: the team's, the run's, and Kueue's where the run has a queue."""
    own = {**recipe.cluster.pod.labels, **labels(recipe, "job")}
    if recipe.cluster.queue:
        own[QUEUE_LABEL] = recipe.cluster.queue
        if recipe.cluster.queue_priority:
            own[QUEUE_PRIORITY_LABEL] = recipe.cluster.queue_priority
    return own
