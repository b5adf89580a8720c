"""Paths in a recipe that exist on this machine only, so that the pod can't see them."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from phi3k_trainer.contract import CACHE, RUNS
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.cluster import ClusterSection
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.sources import source_named

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".gz", ".zst")


def refuse_local_paths(recipe: Recipe) -> None:
    """Do nothing unless the recipe names a path that is not in the cluster.

    Raises:
        MissingInputError: it does; the message says how to bring the data there.
    """
    if problems := local_paths(recipe):
        raise MissingInputError("; ".join(problems))


def local_paths(recipe: Recipe) -> list[str]:
    """Return a sentence for each path that the pod can't see, with the way to bring it there."""
    unseen = [(field, path) for field, path in _paths(recipe) if not _is_in_the_pod(path, recipe.cluster)]
    return [_sentence(field, path, recipe) for field, path in unseen]


def _paths(recipe: Recipe) -> Iterator[tuple[str, str]]:
    data = recipe.data
    if data.path and not is_address(data.path) and _is_local(data):
        yield "data.path", data.path
    if data.image_root and not is_address(data.image_root):
        yield "data.image_root", data.image_root
    base = recipe.model.base
    if is_address(base):
        return
    if base.startswith(("/", ".", "~")) or Path(base).expanduser().is_dir():
        yield "model.base", base


def _is_local(data: DataSection) -> bool:
    path, reads = data.path or "", source_named(data.source).reads
    if reads != "files or hub":
        return reads == "files"
    named = path.startswith(("/", ".", "~")) or path.lower().endswith(TABLE_SUFFIXES)
    return named or Path(path).exists()


def _is_in_the_pod(path: str, cluster: ClusterSection) -> bool:
    """Return whether the path lies on a volume; the user's own image may contain a path that is not on this machine."""
    absolute = PurePosixPath(path)
    if not absolute.is_absolute() or ".." in absolute.parts:
        return False
    if any(absolute.is_relative_to(mount) for mount in (CACHE, RUNS)):
        return True
    own_image = cluster.image != ClusterSection.model_fields["image"].default
    return own_image and not Path(path).exists()


def _sentence(field: str, path: str, recipe: Recipe) -> str:
    name = PurePosixPath(path).name or "data"
    if field.startswith("data."):
        way = "Bring it there with `phi3k data push RECIPE`"
    else:
        way = f"Copy it onto a claim (docs/data.md says how) and set {field}={CACHE}/{name}"
    return (
        f"{field} is {path}, which is not in the cluster: the pod sees the claims {recipe.cluster.cache.claim} "
        f"(as {CACHE}) and {recipe.cluster.runs.claim} (as {RUNS}). {way}, or name it by an address such as "
        f"s3://bucket/{name}, or by its id on the hub"
    )
