"""Names, labels and annotations of a run's objects: pure functions of the recipe."""

from importlib.metadata import version
from typing import TYPE_CHECKING

# Looking at runs needs names but no recipe, whose import takes longer than the API server's answer.
if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

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


def job_labels(recipe: "Recipe") -> dict[str, str]:
    """Return the labels of the job itself: the team's, the run's, and Kueue's where the run has a queue."""
    own = {**recipe.cluster.pod.labels, **labels(recipe, "job")}
    if recipe.cluster.queue:
        own[QUEUE_LABEL] = recipe.cluster.queue
        if recipe.cluster.queue_priority:
            own[QUEUE_PRIORITY_LABEL] = recipe.cluster.queue_priority
    return own
