"""A run as a TrainJob (trainer.kubeflow.org/v1alpha1, Kubeflow Trainer 2.x) with a TrainingRuntime of its own.

Only a runtime can say how a TrainJob's workers fail: on a shared one such as `torch-distributed` a permanent error is
tried again six times, and then the pod is deleted with its log. And only what a TrainJob changes of a shared runtime
has another name in every minor version: a runtime of its own is the same to all of them.
"""

import re
from typing import TYPE_CHECKING

from phi3k_jobs.kinds.kind import Kind, settled_state
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import job_labels, labels
from phi3k_jobs.objects.resource import Resource

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME = Resource(API_VERSION, "TrainingRuntime", "trainingruntimes")
ANCESTOR_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
# The name by which Kubeflow Trainer finds the workers in a runtime: their Job, and the container in its pods.
WORKERS = "node"
# What the webhooks of Kubeflow Trainer 2.0 to 2.3 and of Kueue say of a TrainJob whose runtime they don't know (yet).
_RUNTIME_UNKNOWN = re.compile(r"specified trainingRuntime must be created before the TrainJob|runtime '.+' not found")


def _render_runtime(recipe: "Recipe", wandb_run_id: str | None) -> list[Manifest]:
    """Return the TrainingRuntime of this run alone: its pods, and how they fail."""
    from phi3k_jobs.objects.job_spec import job_spec
    from phi3k_jobs.objects.pod import environment

    workers = job_spec(recipe, wandb_run_id, WORKERS, environment(recipe, wandb_run_id))
    template = {"metadata": {"labels": {ANCESTOR_LABEL: "trainer"}}, "spec": workers}
    runtime = {
        "apiVersion": RUNTIME.api_version,
        "kind": RUNTIME.kind,
        "metadata": {"name": recipe.name, "labels": labels(recipe, "trainer")},
        "spec": {
            "mlPolicy": {"torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": WORKERS, "template": template}]}},
        },
    }
    return [runtime]


def _render(recipe: "Recipe", _wandb_run_id: str | None) -> list[Manifest]:
    """Return the TrainJob: how many nodes of its runtime run, and how many processes on each."""
    from phi3k_jobs.objects.shape import num_nodes, processes_per_replica

    job = {
        "apiVersion": TRAINJOB.job.api_version,
        "kind": TRAINJOB.job.kind,
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": {
            "runtimeRef": {"apiGroup": RUNTIME.group, "kind": RUNTIME.kind, "name": recipe.name},
            "trainer": {
                "numNodes": num_nodes(recipe.cluster),
                "numProcPerNode": processes_per_replica(recipe.cluster),
            },
        },
    }
    return [job]


def _state(job: Manifest) -> str:
    ready = any(entry["ready"] for entry in job.get("status", {}).get("jobsStatus", []))
    settled = settled_state(job, is_suspended=bool(job["spec"].get("suspend")))
    return settled or ("Running" if ready else "Pending")


def _pods(runtime: Manifest) -> Manifest:
    (workers,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    return dict(workers["template"]["spec"]["template"])


TRAINJOB = Kind(
    name="trainjob",
    job=Resource(API_VERSION, "TrainJob", "trainjobs"),
    container=WORKERS,
    index_label="batch.kubernetes.io/job-completion-index",
    render=_render,
    nodes=lambda job: int(job["spec"]["trainer"]["numNodes"]),
    state=_state,
    suspension=lambda suspended: {"spec": {"suspend": suspended}},
    pods=_pods,
    runtime=RUNTIME,
    # Early, because the operator refuses a TrainJob whose runtime it has not seen yet.
    render_early=_render_runtime,
    is_too_early=lambda error: _RUNTIME_UNKNOWN.search(str(error)) is not None,
    needs=(RUNTIME,),
    made_job=f"-{WORKERS}-0",
)
