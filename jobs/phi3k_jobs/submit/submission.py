"""Submitting a run: check the cluster, dry-run every object on the server, then create all of them or none."""

import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.discovery import look
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.local_paths import refuse_local_paths
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RECIPE_ANNOTATION
from phi3k_jobs.render import objects
from phi3k_jobs.runs import Run, is_run, jobs_named, remove
from phi3k_jobs.submit.preflight import check_cluster, queue_note
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import OutputError, Phi3kError, UnavailableError
from phi3k_trainer.recipe import Recipe, recipe_sha256

GONE_SECONDS = 30.0
POLL_SECONDS = 0.2
# The longest time from a submit's first object to its job, and until an operator sees a new object.
SENDING_SECONDS = 30.0


@dataclass(frozen=True)
class Submission:
    """What submit did: the run's name and kind, and notes for its owner."""

    name: str
    namespace: str
    kind: KindName
    wandb_run_id: str
    created: bool
    notes: tuple[str, ...] = field(default=())


def mint_wandb_run_id() -> str:
    """Return a new W&B run id: minted at submit, so that a run stays one run across restarts."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def submit(cluster: Cluster, recipe: Recipe, *, dry_run: bool = False) -> Submission:
    """Send the run to the cluster.

    A second time with the same recipe changes nothing; a run that has failed is sent again and resumes.

    Raises:
        Phi3kError: something is missing, forbidden or too small; nothing of this run is left behind.
    """
    refuse_local_paths(recipe)
    capabilities = look(cluster)
    kind = capabilities.choose(recipe)
    before = _before(cluster, recipe)
    if before is not None and before.state != "Failed":
        note = f"it was submitted before with the same recipe and is {before.state}: nothing was changed"
        return Submission(before.name, cluster.namespace, before.kind, before.wandb_run_id or "", False, (note,))
    notes = check_cluster(cluster, recipe, capabilities)
    run_id = (before and before.wandb_run_id) or mint_wandb_run_id()
    rendered = objects(recipe, kind=kind, wandb_run_id=run_id)
    claims = [entry for entry in rendered if _is_claim(entry) and not _exists(cluster, entry)]
    own = [entry for entry in rendered if not _is_claim(entry)]
    _refuse_others(cluster, recipe, own[:-1])
    job = _try_all(cluster, [*claims, *own], again=before is not None)
    if before is not None:
        notes.append("the run of this name had failed: it resumes from its last checkpoint")
    if not dry_run:
        if before is not None:
            remove(cluster, before)
        job = send_objects(cluster, claims, own)
    if job is not None:
        notes += queue_note(recipe, capabilities, kind, job)
    return Submission(recipe.name, cluster.namespace, kind, run_id, created=not dry_run, notes=tuple(notes))


def _before(cluster: Cluster, recipe: Recipe) -> Run | None:
    """Return the run that was submitted with this recipe before.

    Raises:
        OutputError: the name belongs to another recipe, or to a job that phi3k did not create.
    """
    for object_kind, job, run in jobs_named(cluster, recipe.name):
        taken = f"the name {recipe.name} is taken in namespace {cluster.namespace} by a {object_kind}"
        if run is None:
            raise OutputError(f"{taken} that phi3k did not create: choose another name with --name")
        if job["metadata"].get("annotations", {}).get(RECIPE_ANNOTATION) != recipe_sha256(recipe):
            raise OutputError(
                f"{taken} of another recipe: choose another with --name, or remove that run with "
                f"`phi3k cancel {recipe.name}`"
            )
        return run
    return None


def _is_claim(entry: Manifest) -> bool:
    """Claims are shared between runs: an existing one is not changed."""
    return bool(entry["kind"] == "PersistentVolumeClaim")


def _exists(cluster: Cluster, entry: Manifest) -> bool:
    return cluster.get(entry["kind"], entry["metadata"]["name"]) is not None


def _refuse_others(cluster: Cluster, recipe: Recipe, around: Sequence[Manifest]) -> None:
    """Refuse names that others use: a run's objects are deleted with it, so it must not adopt objects of others."""
    for entry in around:
        existing = cluster.get(entry["kind"], entry["metadata"]["name"])
        if existing is not None and not is_run(existing):
            raise OutputError(
                f"the run needs a {entry['kind']} {entry['metadata']['name']}, and namespace {cluster.namespace} has "
                f"one that phi3k did not create: choose another name than {recipe.name} with --name"
            )


def _try_all(cluster: Cluster, rendered: Sequence[Manifest], *, again: bool) -> Manifest | None:
    """Dry-run each object; return the job as the server would store it, defaults and webhooks included.

    It is None for a TrainJob whose fields were accepted: its webhook checks no more before its runtime exists.
    """
    *around, job = rendered
    for entry in around:
        cluster.apply(entry, dry_run=True)
    if again:
        job = {**job, "metadata": {**job["metadata"], "name": f"{job['metadata']['name']}-again"}}
    try:
        return cluster.create(job, dry_run=True)
    except Phi3kError as error:
        if _is_too_early(error):
            return None
        raise


def _is_too_early(error: Exception) -> bool:
    """Return whether a job was refused only because its operator has not yet seen the objects created before it."""
    return any(kind.is_too_early(error) for kind in KINDS.values())


def _remove_left_over(cluster: Cluster, own: Sequence[Manifest]) -> None:
    """Delete what a removed run of this name left: the cluster would otherwise delete our objects with it."""
    there = [cluster.get(entry["kind"], entry["metadata"]["name"]) for entry in own[:-1]]
    left = [entry for entry in there if entry is not None and _has_lost_its_owner(cluster, entry)]
    for entry in left:
        cluster.delete(entry["kind"], entry["metadata"]["name"], uid=entry["metadata"]["uid"])
    deadline = time.monotonic() + GONE_SECONDS
    while any(_is_still_there(cluster, entry) for entry in left):
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"objects of the last run of this name still exist after {GONE_SECONDS:.0f} s: submit again later"
            )
        time.sleep(POLL_SECONDS)


def _has_lost_its_owner(cluster: Cluster, entry: Manifest) -> bool:
    """Return whether an object's job is gone. An object without an owner may belong to a submit in progress."""
    owners = entry["metadata"].get("ownerReferences", [])
    return any(not _is_still_there(cluster, {"kind": owner["kind"], "metadata": owner}) for owner in owners)


def _is_still_there(cluster: Cluster, entry: Manifest) -> bool:
    found = cluster.get(entry["kind"], entry["metadata"]["name"])
    return found is not None and bool(found["metadata"]["uid"] == entry["metadata"]["uid"])


def send_objects(cluster: Cluster, claims: Sequence[Manifest], own: Sequence[Manifest]) -> Manifest:
    """Send the claims, the objects around a job and the job (the last), which becomes the owner of the others.

    Returns:
        The job as the server has stored it.

    Raises:
        OutputError: somebody else submits a run with this name at the same time.
        Phi3kError: an object is refused; those before it are deleted again.
    """
    _remove_left_over(cluster, own)
    first, *around, job = own
    _reserve(cluster, first, job["metadata"]["name"])
    sent = [first]
    try:
        for entry in [*claims, *around]:
            sent.append(entry)
            cluster.apply(entry)
        created = _create_job(cluster, job, sent)
        _give_to(cluster, created, own[:-1])
    except (Phi3kError, KeyboardInterrupt) as error:
        _take_back(cluster, sent, error)
        raise
    return created


def _reserve(cluster: Cluster, first: Manifest, name: str) -> None:
    """Create a run's first object. All kinds of run have it, and of two simultaneous submits only one can create it."""
    deadline = time.monotonic() + SENDING_SECONDS
    while True:
        try:
            cluster.create(first)
        except OutputError:
            if any(jobs_named(cluster, name)):
                raise OutputError(
                    f"somebody else has submitted {name} at the same time: choose another name with --name, or look "
                    f"at that run with `phi3k status {name}`"
                ) from None
            if time.monotonic() > deadline:
                # It was left by a submit that was killed.
                cluster.apply(first)
                return
            time.sleep(POLL_SECONDS)
        else:
            return


def _create_job(cluster: Cluster, job: Manifest, sent: list[Manifest]) -> Manifest:
    """Create the job and add it to `sent`, also if the server's answer was lost and it may exist."""
    deadline = time.monotonic() + SENDING_SECONDS
    while True:
        try:
            created = cluster.create(job)
        except OutputError:
            # The existing job belongs to another submit.
            raise
        except Phi3kError as error:
            if _is_too_early(error) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            sent.append(job)
            raise
        sent.append(job)
        return created


def _take_back(cluster: Cluster, sent: Sequence[Manifest], error: BaseException) -> None:
    """Delete what was sent, and add to the error what can't be deleted."""
    left = []
    for entry in reversed(sent):
        try:
            cluster.delete(entry["kind"], entry["metadata"]["name"])
        except Phi3kError:
            left.append(f"{entry['kind']} {entry['metadata']['name']}")
    if left:
        raise type(error)(
            f"{error}. These objects are left, because you may not delete them: {', '.join(left)}"
        ) from error


def _give_to(cluster: Cluster, job: Manifest, around: Sequence[Manifest]) -> None:
    """Make the job the owner of its objects, so that they are deleted with it; claims have no owner and stay."""
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
    }
    for entry in around:
        cluster.patch(entry["kind"], entry["metadata"]["name"], {"metadata": {"ownerReferences": [owner]}})
