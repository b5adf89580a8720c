"""Copying the files of a run from its claim to this machine, and listing them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.executing import LostError
from phi3k_jobs.objects.names import RECIPE_ANNOTATION
from phi3k_jobs.runs import jobs_named
from phi3k_jobs.transfer.landing import Landing, check_manifests, check_space, landing_in
from phi3k_jobs.transfer.parts import Entry, Listing, choose, read_listing
from phi3k_jobs.transfer.program import FormError
from phi3k_jobs.transfer.visit import Callbacks, Visit, ask, check_claim, check_rights, directory_of, visiting
from phi3k_trainer.errors import StorageError, UnavailableError
from phi3k_trainer.recipe import Recipe, parse_recipe

# Attempts in a row in which no file and no further byte arrived.
FRUITLESS_ATTEMPTS = 5
PAUSE_SECONDS = 2.0
# Files that change while they are read are asked for again this often.
PASSES = 3


@dataclass(frozen=True)
class Fetched:
    """What a fetch has copied."""

    folder: Path
    files: int
    size: int
    sent: int
    """Bytes that were sent now; the rest was already here."""
    grown: tuple[str, ...]
    """Files that grew during the fetch: only their beginning is here."""
    skipped: tuple[str, ...]
    """Links and the like, which are never fetched."""


def stored_recipe(cluster: Cluster, name: str, overrides: Sequence[str]) -> Recipe | None:
    """Return the recipe of a run that the cluster still has, with `overrides` on top; None if its job is gone.

    Raises:
        RecipeError: another version of phi3k wrote it, and this one can't read it.
    """
    for _, job, run in jobs_named(cluster, name):
        digest = job["metadata"].get("annotations", {}).get(RECIPE_ANNOTATION)
        stored = cluster.get("ConfigMap", f"{name}-recipe-{digest[:10]}") if run and digest else None
        if stored is not None:
            return parse_recipe(stored["data"]["recipe.yaml"], origin=f"the recipe of {name}", overrides=overrides)
    return None


def list_files(cluster: Cluster, recipe: Recipe, run: str, callbacks: Callbacks) -> Listing:
    """Return the files in the run's directory on the claim of `recipe`.

    Raises:
        MissingInputError: there is no such claim.
        ShortJobError: there is no such run on it, or the pod can't start.
    """
    check_claim(cluster, directory_of(recipe, run))
    return read_listing(ask(cluster, recipe, run, callbacks))


def fetch(
    cluster: Cluster,
    recipe: Recipe,
    run: str,
    part: str,
    to: Path,
    *,
    callbacks: Callbacks,
    begin: Callable[[Sequence[Entry]], Callable[[str, int], None]],
) -> Fetched:
    """Copy a part of a run to `to`/`run`; files that are already here and the same are not sent again.

    Args:
        cluster: Where the claim is.
        recipe: Says which claim, and where a pod for it runs.
        run: Name of the run.
        part: One of PARTS.
        to: A folder of this machine.
        callbacks: Called with what is waited for.
        begin: Is called with the files once they are known; what it returns, with each file's progress.

    Raises:
        MissingInputError: there is no such claim or part.
        PermissionDeniedError: files may not be copied out of pods.
        StorageError: this disk is full, or a file can't be copied as a whole.
        UnavailableError: the connection keeps breaking.
    """
    place = directory_of(recipe, run)
    check_claim(cluster, place)
    check_rights(cluster)
    folder = to / run
    origin = {
        "server": cluster.address,
        "namespace": cluster.namespace,
        "claim": place.section.claim,
        "run": run,
    }
    with visiting(cluster, recipe, run, place, callbacks) as visit:
        listing = read_listing(_tried_again(visit.listing))
        files = choose(listing, run, part)
        check_space(folder, files)
        with landing_in(folder, origin, begin(files), callbacks.notice) as landing:
            _bring(visit, landing, files, callbacks.notice)
            check_manifests(landing, files)
    arrived = landing.arrived.values()
    return Fetched(
        folder,
        len(landing.arrived),
        sum(file.size for file in arrived),
        sum(file.sent for file in arrived),
        tuple(path for path, file in landing.arrived.items() if file.grown),
        listing.skipped if part == "all" else (),
    )


def _bring(visit: Visit, landing: Landing, files: Sequence[Entry], notice: Callable[[str], None]) -> None:
    """Request the missing files until all of them are here.

    Raises:
        StorageError: files kept changing, or are gone.
        UnavailableError: the connection keeps breaking.
    """
    for _ in range(PASSES):
        _pass(visit, landing, files, notice)
        if not landing.failed:
            return
    reasons = "; ".join(f"{path}: {why}" for path, why in landing.failed.items())
    raise StorageError(
        f"{len(landing.failed)} of {len(files)} files are not fetched: {reasons}. The same command tries them again"
    )


def _pass(visit: Visit, landing: Landing, files: Sequence[Entry], notice: Callable[[str], None]) -> None:
    fruitless = 0
    landing.failed.clear()
    while missing := [file for file in files if file.path not in landing.arrived and file.path not in landing.failed]:
        before = _weight(landing, files)
        try:
            landing.receive(visit.frames(landing.requests(missing)))
        except (LostError, FormError) as error:
            fruitless = 0 if _weight(landing, files) > before else fruitless + 1
            if fruitless == FRUITLESS_ATTEMPTS:
                raise UnavailableError(f"{error}. What has arrived is kept, and the same command continues") from error
            notice(f"{error}. Continuing from what has arrived")
            time.sleep(PAUSE_SECONDS)
        else:
            if still := [file.path for file in missing if file.path not in landing.arrived | landing.failed]:
                raise StorageError(f"the pod did not send {', '.join(still)}")


def _weight(landing: Landing, files: Sequence[Entry]) -> int:
    begun = (landing.begun(file) for file in files if file.path not in landing.arrived)
    return len(landing.arrived) + sum(here.stat().st_size for here in begun if here)


def _tried_again(ask_for: Callable[[], object]) -> object:
    for _ in range(FRUITLESS_ATTEMPTS - 1):
        try:
            return ask_for()
        except LostError:
            time.sleep(PAUSE_SECONDS)
    return ask_for()
