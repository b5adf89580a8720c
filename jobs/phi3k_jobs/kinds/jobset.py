"""A run as a JobSet (jobset.x-k8s.io/v1alpha2) of one Indexed Job.

Kubeflow Trainer 2.x brings JobSet into a cluster, and Kueue queues its jobs. `auto` never takes it: with one Job in it,
a JobSet does what that Job does alone, so no cluster's answer changes. It is for clusters that expect JobSets.
"""

from typing import TYPE_CHECKING

from phi3k_jobs.kinds.kind import Kind, settled_state
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import job_labels
from phi3k_jobs.objects.resource import Resource

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

# The JobSet's only entry. Its Job is called <run>-node-0, the pods' hosts <run>-node-0-<rank>, as those of a TrainJob.
WORKERS = "node"
MADE_JOB = f"-{WORKERS}-0"


def _render(recipe: "Recipe", wandb_run_id: str | None) -> list[Manifest]:
    """Return the JobSet: one Indexed Job, whose pods meet at index 0 through the Service that the operator makes.

    It has no failure policy of its own, so it fails with its Job. The Job's policy decides what is tried again: pod by
    pod, and those that failed stay with their logs. A restart of the JobSet would delete them.
    """
    from phi3k_jobs.objects.job_spec import job_spec, rendezvous
    from phi3k_jobs.objects.pod import environment
    from phi3k_jobs.objects.shape import num_nodes
    from phi3k_trainer.recipe.durations import seconds

    nodes = num_nodes(recipe.cluster)
    first = f"{recipe.name}{MADE_JOB}-0.{recipe.name}"
    env = environment(recipe, wandb_run_id) + rendezvous(recipe, first)
    workers = job_spec(recipe, wandb_run_id, JOBSET.container, env)
    workers |= {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
    }
    spec: Manifest = {
        "network": {"enableDNSHostnames": True, "subdomain": recipe.name},
        "replicatedJobs": [{"name": WORKERS, "replicas": 1, "template": {"spec": workers}}],
    }
    if recipe.cluster.keep_finished:
        spec["ttlSecondsAfterFinished"] = seconds(recipe.cluster.keep_finished)
    job = {
        "apiVersion": JOBSET.job.api_version,
        "kind": JOBSET.job.kind,
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": spec,
    }
    return [job]


def _workers(job: Manifest) -> Manifest:
    """Return the spec of the Job."""
    (workers,) = job["spec"]["replicatedJobs"]
    return dict(workers["template"]["spec"])


def _state(job: Manifest) -> str:
    ready = any(entry["ready"] for entry in job.get("status", {}).get("replicatedJobsStatus", []))
    settled = settled_state(job, is_suspended=bool(job["spec"].get("suspend")), success="Completed")
    return settled or ("Running" if ready else "Pending")


JOBSET = Kind(
    name="jobset",
    job=Resource("jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets"),
    container="trainer",
    index_label="batch.kubernetes.io/job-completion-index",
    render=_render,
    nodes=lambda job: int(_workers(job)["completions"]),
    state=_state,
    suspension=lambda suspended: {"spec": {"suspend": suspended}},
    pods=lambda job: dict(_workers(job)["template"]),
    made_job=MADE_JOB,
)
