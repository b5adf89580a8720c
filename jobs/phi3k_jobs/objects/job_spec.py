"""The spec of a Job (batch/v1) that runs the trainer, whoever makes that Job: phi3k itself or an operator."""

from phi3k_jobs.objects.around import config_map_name
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.pod import pod_template, trainer_container
from phi3k_jobs.objects.shape import num_nodes, processes_per_replica
from phi3k_trainer.contract import (
    MASTER_ADDRESS_VARIABLE,
    MASTER_PORT_VARIABLE,
    NODE_RANK_VARIABLE,
    NODES_VARIABLE,
    PERMANENT_EXIT_CODES,
    PROCESSES_VARIABLE,
    RENDEZVOUS_PORT,
)
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.durations import seconds

INDEX_ANNOTATION = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def job_spec(recipe: Recipe, wandb_run_id: str | None, container: str, env: list[Manifest], **fixed: str) -> Manifest:
    """Return the pods of a run that are made by a Job, however it came to be, and what their failures mean.

    `fixed` is what the kind needs in the pods' spec besides.
    """
    trainer = trainer_container(recipe, container, env)
    spec: Manifest = {
        # One replica's failure makes its peers fail with it, and each counts.
        "backoffLimit": recipe.cluster.retries * num_nodes(recipe.cluster),
        "podFailurePolicy": pod_failure_policy(container),
        "template": pod_template(
            recipe, wandb_run_id, config_map_name(recipe), trainer, restartPolicy="Never", **fixed
        ),
    }
    if recipe.cluster.deadline:
        spec["activeDeadlineSeconds"] = seconds(recipe.cluster.deadline)
    return spec


def pod_failure_policy(container: str) -> Manifest:
    """Return the rules: an evicted pod costs no retry, a permanent error fails the job at once."""
    permanent = {"containerName": container, "operator": "In", "values": list(PERMANENT_EXIT_CODES)}
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": permanent},
        ]
    }


def rendezvous(recipe: Recipe, host: str) -> list[Manifest]:
    """Return what Kubeflow's operators would set: torchrun reads PET_* for its options. `host` is the first replica."""
    plain = {
        NODES_VARIABLE: str(num_nodes(recipe.cluster)),
        PROCESSES_VARIABLE: str(processes_per_replica(recipe.cluster)),
        MASTER_ADDRESS_VARIABLE: host,
        MASTER_PORT_VARIABLE: str(RENDEZVOUS_PORT),
    }
    index = {"name": NODE_RANK_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": INDEX_ANNOTATION}}}
    return [{"name": name, "value": value} for name, value in plain.items()] + [index]
