"""Names, labels and annotations of a run's objects: pure functions of the recipe."""

import hashlib
import re
from importlib.metadata import version

from phi3k_trainer.recipe import Recipe

FIELD_MANAGER = "phi3k"
RUN_LABEL = "phi3k/run"
RECIPE_ANNOTATION = "phi3k/recipe-sha256"
WANDB_ANNOTATION = "phi3k/wandb-run"
MAX_LABEL_LENGTH = 63


def shortened(name: str, limit: int = MAX_LABEL_LENGTH) -> str:
    """Return `name` as a DNS-1035 label of at most `limit` characters; what had to change is told apart by a hash.

    Equal names give equal labels, and two names that differ give labels that differ, however they were mended.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not label or not label[0].isalpha():
        label = f"run-{label}".strip("-")
    if label == name and len(label) <= limit:
        return label
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{label[: limit - len(digest) - 1].rstrip('-')}-{digest}"


def labels(recipe: Recipe, component: str) -> dict[str, str]:
    """Return the labels every object of the run carries."""
    return {
        "app.kubernetes.io/name": "phi3k",
        "app.kubernetes.io/instance": recipe.name,
        "app.kubernetes.io/version": version("phi3k"),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        RUN_LABEL: recipe.name,
    }


def selector(recipe: Recipe) -> dict[str, str]:
    """Return the labels that pick out the trainer's pods of this run."""
    return {RUN_LABEL: recipe.name, "app.kubernetes.io/component": "trainer"}
