"""Names, labels and annotations of a run's objects: pure functions of the recipe."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

# Looking at runs needs names but no recipe, whose import takes longer than the API server's answer.
if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

Kind = Literal["pytorchjob", "trainjob", "job"]
DEFAULT_KIND: Kind = "job"
FIELD_MANAGER = "phi3k"
RUN_LABEL = "phi3k/run"
RECIPE_ANNOTATION = "phi3k/recipe-sha256"
WANDB_ANNOTATION = "phi3k/wandb-run"
RUNS_VOLUME = "runs"
# The name by which Kubeflow Trainer finds the workers in a runtime: their Job, and the container in its pods.
WORKERS = "node"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
QUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"


def labels(recipe: "Recipe", component: str) -> dict[str, str]:
    """Return the labels every object of the run carries."""
    return {
        "app.kubernetes.io/name": "phi3k",
        "app.kubernetes.io/instance": recipe.name,
        "app.kubernetes.io/version": version("phi3k"),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        RUN_LABEL: recipe.name,
    }


def selector(recipe: "Recipe") -> dict[str, str]:
    """Return the labels that pick out the trainer's pods of this run."""
    return {RUN_LABEL: recipe.name, "app.kubernetes.io/component": "trainer"}


def workers_job(name: str) -> str:
    """Return the name of the Job that Kubeflow Trainer makes for the workers of the run `name`."""
    return f"{name}-{WORKERS}-0"
