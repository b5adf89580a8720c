"""Submitting a run: look at the cluster, try every object on the server, then apply them, all or none."""

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from phi3k_jobs.cluster import Cluster
from phi3k_jobs.discovery import KIND_OBJECTS, Capabilities, look
from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import RECIPE_ANNOTATION, WANDB_ANNOTATION
from phi3k_jobs.preflight import check_cluster, queue_note
from phi3k_jobs.render import Kind, objects
from phi3k_trainer.errors import OutputError, Phi3kError
from phi3k_trainer.recipe import Recipe, recipe_sha256


@dataclass(frozen=True)
class Submission:
    """What submit did: the run's name and kind, and what its owner should know."""

    name: str
    namespace: str
    kind: Kind
    wandb_run_id: str
    created: bool
    notes: tuple[str, ...] = field(default=())


def mint_wandb_run_id() -> str:
    """Return a new W&B run id: minted at submit, so that a run stays one run across restarts."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def submit(cluster: Cluster, recipe: Recipe, *, dry_run: bool = False) -> Submission:
    """Send the run to the cluster; a second time with the same recipe changes nothing.

    Raises:
        Phi3kError: something is missing, forbidden or too small; nothing of this run is left behind.
    """
    capabilities = look(cluster)
    kind = capabilities.choose(recipe)
    if known := _existing(cluster, recipe, capabilities):
        return known
    notes = check_cluster(cluster, recipe)
    run_id = mint_wandb_run_id()
    rendered = objects(recipe, kind=kind, wandb_run_id=run_id, overrides=capabilities.overrides or "runtimePatches")
    missing = [entry for entry in rendered if not _is_kept(cluster, entry)]
    tried = _try_all(cluster, missing)
    notes += queue_note(recipe, capabilities, tried[-1])
    submission = Submission(recipe.name, cluster.namespace, kind, run_id, created=not dry_run, notes=tuple(notes))
    if not dry_run:
        _apply_all(cluster, missing)
    return submission


def _existing(cluster: Cluster, recipe: Recipe, capabilities: Capabilities) -> Submission | None:
    """Return the submission that is there already.

    Raises:
        OutputError: the name belongs to another recipe.
    """
    for kind in capabilities.kinds:
        job = cluster.get(KIND_OBJECTS[kind], recipe.name)
        if job is None:
            continue
        annotations = job["metadata"].get("annotations", {})
        if annotations.get(RECIPE_ANNOTATION) != recipe_sha256(recipe):
            raise OutputError(
                f"the name {recipe.name} is taken in namespace {cluster.namespace} by a {KIND_OBJECTS[kind]} of "
                f"another recipe: choose another with --name, or remove that one with `phi3k cancel {recipe.name}`"
            )
        note = "it was submitted before, and this recipe is the same: nothing was changed"
        return Submission(
            recipe.name, cluster.namespace, kind, annotations.get(WANDB_ANNOTATION, ""), created=False, notes=(note,)
        )
    return None


def _is_kept(cluster: Cluster, entry: Manifest) -> bool:
    """Claims are shared between runs: one that is there stays as its owner made it."""
    return (
        entry["kind"] == "PersistentVolumeClaim" and cluster.get(entry["kind"], entry["metadata"]["name"]) is not None
    )


def _try_all(cluster: Cluster, rendered: Sequence[Manifest]) -> list[Manifest]:
    """Return what the server would make of each object, defaults and webhooks included."""
    return [cluster.apply(entry, dry_run=True) for entry in rendered]


def _apply_all(cluster: Cluster, rendered: Sequence[Manifest]) -> None:
    """Apply the objects; where one fails, delete those that were not there before."""
    created: list[Manifest] = []
    try:
        for entry in rendered:
            is_new = cluster.get(entry["kind"], entry["metadata"]["name"]) is None
            applied = cluster.apply(entry)
            if is_new:
                created.append(entry)
        _give_to(cluster, applied, rendered[:-1])
    except (Phi3kError, KeyboardInterrupt):
        for entry in reversed(created):
            cluster.delete(entry["kind"], entry["metadata"]["name"])
        raise


def _give_to(cluster: Cluster, job: Manifest, rendered: Sequence[Manifest]) -> None:
    """Make the job the owner of its objects, so that they go with it; claims have no owner and stay."""
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    for entry in rendered:
        if entry["kind"] != "PersistentVolumeClaim":
            cluster.patch(entry["kind"], entry["metadata"]["name"], {"metadata": {"ownerReferences": [owner]}})
