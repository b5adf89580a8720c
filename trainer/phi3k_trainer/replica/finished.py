"""The record that a run has nothing left to do.

A finished job that is made again, as tools that keep a cluster like a Git repository do, reads it before it loads
anything: it ends at once instead of holding its GPUs for what is done.
"""

from pathlib import Path

from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.files import encode_json, read_json, write_atomically
from phi3k_trainer.recipe import Recipe, recipe_sha256
from phi3k_trainer.replica.exit_report import ExitReport
from phi3k_trainer.run_directory import RunDirectory


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
    write_atomically(RunDirectory(run).finished, encode_json(record), "checkpoint.directory")


def earlier_end(recipe: Recipe) -> ExitReport | None:
    """Return the outcome of a run that has ended with this very recipe and still has what it left, else None."""
    try:
        record = read_json(RunDirectory(recipe.run_path).finished)
        step, checkpoint = int(record["step"]), str(record["checkpoint"])
        is_same = record["recipe_sha256"] == recipe_sha256(recipe)
    except (MissingInputError, ValueError, KeyError, TypeError):
        return None
    lacks_export = recipe.export.at_end and not RunDirectory(recipe.run_path).export.is_dir()
    if not is_same or lacks_export or not Path(checkpoint).is_dir():
        return None
    return ExitReport(0, f"done before: all {step} steps are trained, and nothing is left to do", step, checkpoint)
