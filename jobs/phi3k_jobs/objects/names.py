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
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
VERSION_LABEL = "app.kubernetes.io/version"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGER_LABEL = "app.kubernetes.io/managed-by"
SHARED_LABELS = {NAME_LABEL: "phi3k", MANAGER_LABEL: FIELD_MANAGER}
"""Of what belongs to no run."""
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
        NAME_LABEL: SHARED_LABELS[NAME_LABEL],
        INSTANCE_LABEL: recipe.name,
        VERSION_LABEL: version("phi3k"),
        COMPONENT_LABEL: component,
        MANAGER_LABEL: SHARED_LABELS[MANAGER_LABEL],
        RUN_LABEL: recipe.name,
    }


def selector(recipe: "Recipe") -> dict[str, str]:
    """Return the labels that pick out the trainer's pods of this run."""
    return {RUN_LABEL: recipe.name, COMPONENT_LABEL: "trainer"}


def workers_job(name: str) -> str:
    """Return the name of the Job that Kubeflow Trainer makes for the workers of the run `name`."""
    return f"{name}-{WORKERS}-0"
