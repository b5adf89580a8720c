"""The directory of a run: what lies where, and to which recipe it belongs."""

import errno
import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.data.store import write_atomically
from phi3k_trainer.errors import OutputError, StorageError
from phi3k_trainer.evaluation.evaluate import Evaluation
from phi3k_trainer.recipe import Recipe, dump_recipe, load_recipe
from phi3k_trainer.training.checkpoint import list_checkpoints

# What may differ between a run and its continuation: it changes neither what is learned nor from what.
FREE_SECTIONS = ("cluster", "checkpoint", "tracking", "evaluation")
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

# One that was told to stop, or whose node was lost, may hold the directory for a moment after its successor began.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps its things."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe in force."""
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        """Every logged number."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, one directory each."""
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """The result of the last evaluation."""
        return self.path / "evaluation.json"

    @property
    def base(self) -> Path:
        """The model that training starts from, where it was made for this run (`tiny`)."""
        return self.path / "base"

    def predictions(self, step: int) -> Path:
        """The table of fixed samples after `step`."""
        return self.path / "predictions" / f"step-{step}.jsonl"

    def evaluation_of(self, step: int) -> Evaluation | None:
        """The evaluation of the weights after `step`, if there is one already."""
        found = Evaluation.read(self.evaluation) if self.evaluation.exists() else None
        return found if found is not None and found.step == step else None

    def forget_results_after(self, step: int) -> None:
        """Remove the evaluation and the tables of steps that a resumed run will do again."""
        if self.evaluation.exists() and Evaluation.read(self.evaluation).step > step:
            self.evaluation.unlink()
        for path in (self.path / "predictions").glob("step-*.jsonl"):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()

    @contextmanager
    def held(self, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Keep other runs out of this directory for the length of the block; a process that dies lets go.

        On a file system that has no locks nobody is kept out.

        Raises:
            OutputError: another process still holds it after `patience_seconds`.
            StorageError: it can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a")
        except OSError as error:
            raise StorageError(
                f"Can't write in {self.path}: {error.strerror}. Check checkpoint.directory and its permissions."
            ) from error
        with lock as file:
            deadline = time.monotonic() + patience_seconds
            while not _locked(file.fileno()):
                if time.monotonic() > deadline:
                    raise OutputError(
                        f"another process is training in {self.path}. Wait for it or stop it, or choose another name."
                    )
                time.sleep(0.2)
            yield

    def claim(self, recipe: Recipe, *, resume: bool) -> None:
        """Make this the directory of a run of `recipe`, and store the recipe in it.

        Raises:
            OutputError: it holds another recipe's run, or one that would be overwritten because `resume` is not set.
            StorageError: it can't be written.
        """
        if self.recipe.exists():
            different = different_fields(load_recipe(self.recipe), recipe)
            holds_work = bool(list_checkpoints(self.checkpoints)) or self.evaluation.exists()
            if different and (resume or holds_work):
                raise OutputError(
                    f"{self.path} belongs to another recipe; what differs: {', '.join(different)}. "
                    "Choose another name, set checkpoint.directory to another place, or go back to "
                    f"{self.recipe}."
                )
            if holds_work and not resume:
                raise OutputError(
                    f"{self.path} already holds a run of this recipe. Go on with --resume, choose another name, "
                    "or move that directory away."
                )
            if different:
                self._forget_preparation()
        write_atomically(self.recipe, dump_recipe(recipe).encode())

    def _forget_preparation(self) -> None:
        """Remove what was made for another recipe that never got to its first checkpoint."""
        shutil.rmtree(self.base, ignore_errors=True)
        for path in (self.path / "dataset.json", self.path / "quarantine.jsonl", self.metrics):
            path.unlink(missing_ok=True)


def _locked(descriptor: int) -> bool:
    """Whether the lock was to be had, or there are no locks here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    return True


def run_directory(recipe: Recipe) -> RunDirectory:
    """The directory of the run of `recipe`."""
    return RunDirectory(recipe.run_path)


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
