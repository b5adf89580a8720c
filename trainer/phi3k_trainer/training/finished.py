"""The record that a run has nothing left to do.

A finished job that is made again, as tools that keep a cluster like a Git repository do, reads it before it loads
anything: it ends at once instead of holding its GPUs for what is done.
"""

import json
from pathlib import Path

from phi3k_trainer.data.store import write_atomically
from phi3k_trainer.recipe import Recipe, recipe_sha256
from phi3k_trainer.training.outcome import Outcome

_RECORD = "finished.json"


def record_end(run: Path, recipe: Recipe, step: int, checkpoint: Path) -> None:
    """Record that `recipe` was trained to its end and evaluated.

    Args:
        run: The run's directory.
        recipe: The recipe in force.
        step: Optimiser steps of the whole run.
        checkpoint: The last checkpoint.

    Raises:
        StorageError: it can't be written.
    """
    record = {"recipe_sha256": recipe_sha256(recipe), "step": step, "checkpoint": str(checkpoint)}
    write_atomically(run / _RECORD, (json.dumps(record) + "\n").encode())


def earlier_end(recipe: Recipe) -> Outcome | None:
    """Return the outcome of a run that has ended with this very recipe and still has its last checkpoint, else None."""
    try:
        record = json.loads((recipe.run_path / _RECORD).read_bytes())
        step, checkpoint = int(record["step"]), str(record["checkpoint"])
        is_same = record["recipe_sha256"] == recipe_sha256(recipe)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_same or not Path(checkpoint).is_dir():
        return None
    return Outcome(0, f"done before: all {step} steps are trained, and nothing is left to do", step, checkpoint)
