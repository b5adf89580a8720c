"""Starts everything that listens to a run."""

import os
import secrets
from pathlib import Path

from rich.console import Console

from phi3k_trainer.contract import WANDB_RUN_VARIABLE
from phi3k_trainer.files import encode_json, write_atomically
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.tracking.console import console_tracker
from phi3k_trainer.tracking.environment import describe_environment
from phi3k_trainer.tracking.metrics_file import MetricsFile, truncate_metrics
from phi3k_trainer.tracking.tracker import Tracker, Trackers
from phi3k_trainer.tracking.wandb_run import start_wandb


def run_id(saved: str | None) -> str:
    """The W&B id of a run: WANDB_RUN_ID (minted at submit), else the one `saved` in the checkpoint, else a new one."""
    return os.environ.get(WANDB_RUN_VARIABLE) or saved or secrets.token_hex(4)


def start_tracking(
    recipe: Recipe, run_directory: Path, *, run_id: str, step: int, total_steps: int, console: Console | None = None
) -> Tracker:
    """Start the listeners of a run; only the process of rank 0 does, the others use `Tracker()`.

    Cuts metrics.jsonl after `step` and writes environment.json.

    Args:
        recipe: The recipe in force.
        run_directory: Holds metrics.jsonl, environment.json and W&B's files; created where it is missing.
        run_id: What `run_id()` gave.
        step: Optimiser step of the checkpoint that the run continues from, 0 for a new run.
        total_steps: Optimiser step that the run ends with.
        console: Where to print; None: standard output.
    """
    directory = RunDirectory(run_directory)
    directory.path.mkdir(parents=True, exist_ok=True)
    truncate_metrics(directory.metrics, step)
    environment = describe_environment()
    write_atomically(directory.environment, encode_json(environment, indent=2), "checkpoint.directory")
    screen = console_tracker(console or Console(), recipe.name, step, total_steps)
    wandb_run = start_wandb(recipe, run_directory, run_id=run_id, environment=environment, report=screen)
    # The screen goes last: what the others say when the run is over is still printed.
    return Trackers([MetricsFile(directory.metrics, report=screen), wandb_run, screen])
