"""A run as an Indexed Job (batch/v1): no operator needed."""

from typing import TYPE_CHECKING

from phi3k_jobs.kinds.kind import Kind, settled_state
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import job_labels
from phi3k_jobs.objects.resource import Resource

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe


def _render(recipe: "Recipe", wandb_run_id: str | None) -> list[Manifest]:
    """Return the Indexed Job, one index a node, and the headless Service through which they meet at index 0."""
    from phi3k_jobs.objects.around import headless_service
    from phi3k_jobs.objects.job_spec import job_spec, rendezvous
    from phi3k_jobs.objects.pod import environment
    from phi3k_jobs.objects.shape import num_nodes
    from phi3k_trainer.recipe.durations import seconds

    nodes = num_nodes(recipe.cluster)
    env = environment(recipe, wandb_run_id) + rendezvous(recipe, f"{recipe.name}-0.{recipe.name}")
    spec = job_spec(recipe, wandb_run_id, JOB.container, env, subdomain=recipe.name)
    spec |= {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
    }
    if recipe.cluster.keep_finished:
        spec["ttlSecondsAfterFinished"] = seconds(recipe.cluster.keep_finished)
    job = {
        "apiVersion": JOB.job.api_version,
        "kind": JOB.job.kind,
        "metadata": {"name": recipe.name, "labels": job_labels(recipe)},
        "spec": spec,
    }
    return [headless_service(recipe), job]


def _state(job: Manifest) -> str:
    # A Job counts a pod as active from its creation on; ready means that it runs.
    pending = "Running" if job.get("status", {}).get("ready") else "Pending"
    return settled_state(job, is_suspended=bool(job["spec"].get("suspend"))) or pending


JOB = Kind(
    name="job",
    job=Resource("batch/v1", "Job", "jobs"),
    container="trainer",
    index_label="batch.kubernetes.io/job-completion-index",
    render=_render,
    nodes=lambda job: int(job["spec"]["completions"]),
    state=_state,
    suspension=lambda suspended: {"spec": {"suspend": suspended}},
    pods=lambda job: dict(job["spec"]["template"]),
    needs=(Resource("v1", "Service", "services"),),
)
