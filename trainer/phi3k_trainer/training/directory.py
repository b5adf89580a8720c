"""The directory of a run: which recipe and which process it belongs to, and what a resumed run removes from it."""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from phi3k_trainer.checkpoints.files import list_checkpoints
from phi3k_trainer.data.quarantine import read_quarantine
from phi3k_trainer.directories import try_lock
from phi3k_trainer.errors import OutputError, RecipeError, StorageError
from phi3k_trainer.evaluation.evaluate import Evaluation
from phi3k_trainer.files import damage_named, open_regular, read_document, write_atomically
from phi3k_trainer.recipe import Recipe, dump_recipe, parse_recipe, without_env
from phi3k_trainer.run_directory import RECIPE, REMEDIES, RunDirectory
from phi3k_trainer.tracking.metrics_file import read_metrics

# What may differ between a run and its continuation: it changes neither what is learned nor from what.
FREE_SECTIONS = ("cluster", "checkpoint", "tracking", "evaluation", "export")
FREE_FIELDS = (
    "training.activation_checkpointing",
    "training.early_stop_patience",
    "training.loader_threads",
    "training.on_nonfinite",
    "training.max_loss_spike",
    "training.parallel",
    "training.tokens_per_batch",
    "model.attention",
    "data.cache",
    "data.fetch",
    "data.error_budget",
)

# One that was asked to stop, or whose node was lost, may hold the directory for a moment after its successor began.
PATIENCE_SECONDS = 30.0
_TABLE = re.compile(r"step-(\d+)\.jsonl")


def evaluation_of(directory: RunDirectory, step: int) -> Evaluation | None:
    """The evaluation of the weights after `step`, if there is one already.

    Raises:
        MissingInputError: evaluation.json holds something else.
    """
    found = Evaluation.read(directory.evaluation) if directory.evaluation.exists() else None
    return found if found is not None and found.step == step else None


def forget_results_after(directory: RunDirectory, step: int) -> None:
    """Remove the evaluation and the tables of steps that a resumed run will do again.

    Raises:
        MissingInputError: evaluation.json holds something else.
    """
    if directory.evaluation.exists() and Evaluation.read(directory.evaluation).step > step:
        directory.evaluation.unlink()
    for path in directory.predictions(step).parent.glob("step-*.jsonl"):
        if (match := _TABLE.fullmatch(path.name)) and int(match[1]) > step:
            path.unlink()


@contextmanager
def held(directory: RunDirectory, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Keep other runs out of a run's directory until the block ends; the lock of a process that dies is released.

    On a file system without locks no other run is kept out.

    Raises:
        OutputError: another process still holds it after `patience_seconds`.
        StorageError: it can't be made.
    """
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        lock = open_regular(directory.lock, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StorageError(
            f"can't write in {directory.path}: {error.strerror}; check checkpoint.directory and its permissions"
        ) from error
    with os.fdopen(lock, "rb"):
        deadline = time.monotonic() + patience_seconds
        while try_lock(lock) is False:
            if time.monotonic() > deadline:
                raise OutputError(
                    f"another process is training in {directory.path}: wait for it or stop it, or choose another name"
                )
            time.sleep(0.2)
        yield


def claim(directory: RunDirectory, recipe: Recipe, *, resume: bool) -> None:
    """Make `directory` that of a run of `recipe`, and store the recipe in it.

    Raises:
        OutputError: it holds another recipe's run, or one that would be overwritten because `resume` is not set.
        MissingInputError: what it holds can't be used.
        StorageError: it can't be written.
    """
    directory.check_kinds()
    _check_contents(directory)
    holds_work = bool(list_checkpoints(directory.checkpoints)) or directory.evaluation.exists()
    if directory.recipe.exists():
        different = different_fields(_recipe_of(directory), recipe)
        if different and (resume or holds_work):
            raise OutputError(
                f"{directory.path} belongs to another recipe; what differs: {', '.join(different)}. "
                "Choose another name, set checkpoint.directory to another place, or go back to "
                f"{directory.recipe}."
            )
        if different:
            _forget_inputs(directory)
    if holds_work and not resume:
        raise OutputError(
            f"{directory.path} already holds a run of this recipe: continue with --resume, choose another name, "
            "or move that directory away"
        )
    write_atomically(directory.recipe, dump_recipe(without_env(recipe)).encode(), "checkpoint.directory")


def _check_contents(directory: RunDirectory) -> None:
    """Read what only the end of the run would read, so that a damaged file does not cost a training."""
    if directory.evaluation.exists():
        Evaluation.read(directory.evaluation)
    if directory.quarantine.exists():
        read_quarantine(directory.quarantine)
    read_metrics(directory.metrics)


def _recipe_of(directory: RunDirectory) -> Recipe:
    with damage_named(directory.recipe, REMEDIES[RECIPE]):
        text = read_document(directory.recipe).decode()
    try:
        return parse_recipe(text, origin=str(directory.recipe))
    except RecipeError as error:
        raise RecipeError(f"{error}\n  {REMEDIES[RECIPE]}") from error


def _forget_inputs(directory: RunDirectory) -> None:
    """Remove what was made for another recipe that never got to its first checkpoint."""
    shutil.rmtree(directory.base, ignore_errors=True)
    for path in (directory.dataset, directory.base_record, directory.quarantine, directory.metrics):
        path.unlink(missing_ok=True)


def different_fields(one: Recipe, other: Recipe) -> list[str]:
    """Dotted names of the fields that differ and matter to what a run learns, sorted."""
    ours, theirs = dict(_leaves(one.model_dump(mode="json"))), dict(_leaves(other.model_dump(mode="json")))
    names = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    return sorted(name for name in names if not _is_free(name))


def _is_free(name: str) -> bool:
    return any(f"{name}.".startswith(f"{free}.") for free in (*FREE_SECTIONS, *FREE_FIELDS))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value
