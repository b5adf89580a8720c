"""A run as a TrainJob (trainer.kubeflow.org/v1alpha1, Kubeflow Trainer 2.x) with a TrainingRuntime of its own.

Only a runtime can say how a TrainJob's workers fail: on a shared one such as `torch-distributed` a permanent error is
tried again six times, and then the pod is deleted with its log. And only what a TrainJob changes of a shared runtime
has another name in every minor version: a runtime of its own is the same to all of them.
"""

import re

from phi3k_jobs.kinds.job import job_spec
from phi3k_jobs.kinds.pytorchjob import job_labels
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import WORKERS, labels
from phi3k_jobs.objects.pod import environment
from phi3k_jobs.objects.shape import num_nodes, processes_per_replica
from phi3k_trainer.recipe import Recipe

API_VERSION = "trainer.kubeflow.org/v1alpha1"
ANCESTOR_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
# What the webhooks of Kubeflow Trainer 2.0 to 2.3 and of Kueue say of a TrainJob whose runtime they don't know (yet).
_RUNTIME_UNKNOWN = re.compile(r"specified trainingRuntime must be created before the TrainJob|runtime '.+' not found")


def training_runtime(recipe: Recipe, wandb_run_id: str | None) -> Manifest:
    """Return the TrainingRuntime of this run alone: its pods, and how they fail."""
    workers = job_spec(recipe, wandb_run_id, WORKERS, environment(recipe, wandb_run_id))
    template = {"metadata": {"labels": {ANCESTOR_LABEL: "trainer"}}, "spec": workers}
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRuntime",
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "spec": {
            "mlPolicy": {"torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": WORKERS, "template": template}]}},
        },
    }


def trainjob(recipe: Recipe) -> Manifest:
    """Return the TrainJob: how many nodes of its runtime run, and how many processes on each."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": recipe.name},
            "trainer": {
                "numNodes": num_nodes(recipe.cluster),
                "numProcPerNode": processes_per_replica(recipe.cluster),
            },
        },
    }


def is_runtime_unknown(error: Exception) -> bool:
    """Return whether a TrainJob was refused only because its runtime is not there, or was made a moment ago."""
    return _RUNTIME_UNKNOWN.search(str(error)) is not None
