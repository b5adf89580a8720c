"""When a run saves, what a checkpoint holds, and which are kept."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phi3k_trainer.checkpoints.base_record import BaseRecord
from phi3k_trainer.checkpoints.files import checkpoint_name, checkpoint_step, prune, write_checkpoint
from phi3k_trainer.checkpoints.state import TrainingState
from phi3k_trainer.checkpoints.tensors import tensor_files
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.errors import StorageError
from phi3k_trainer.files import convert, damage_named, read_json
from phi3k_trainer.recipe import Recipe, without_env
from phi3k_trainer.run_directory import BASE_RECORD
from phi3k_trainer.tracking.tracker import Tracker

STATE_FILE = "state.json"
RECIPE_FILE = "recipe.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"


ANOTHER_CHECKPOINT = "Another version of phi3k may have written this checkpoint: move it away to use an older one"


def read_state(checkpoint: Path) -> TrainingState:
    """How far the run had come at `checkpoint`, which has been verified.

    Raises:
        MissingInputError: state.json is not there, holds something else, or is of another step.
    """
    path = checkpoint / STATE_FILE
    with damage_named(path, ANOTHER_CHECKPOINT):
        state = convert(TrainingState, read_json(path, ANOTHER_CHECKPOINT))
        if state.step != checkpoint_step(checkpoint):
            raise ValueError(f"it is of step {state.step}")
        return state


class CheckpointKeeper:
    """Saves when it is due or asked for, and prunes. The first process writes; all have to call `save` together."""

    def __init__(
        self,
        root: Path,
        recipe: Recipe,
        processes: Processes,
        adapter_config: Mapping[str, Any] | None,
        base: BaseRecord,
        step: int | None,
    ) -> None:
        """Keep the checkpoints of `recipe`, trained from `base`, under `root`; `step` is that of the newest, if any."""
        self._root = root
        self._recipe = recipe
        self._processes = processes
        self._adapter_config = adapter_config
        self._base = base
        self._last_time = time.monotonic()
        self.last_step = step
        """The step of the newest checkpoint, None before the first."""
        self.is_asked = False

    def ask(self) -> None:
        """Make the next `is_due` true."""
        self.is_asked = True

    def time_is_up(self) -> bool:
        """Whether checkpoint.every_minutes have passed since the last attempt to save, by this process's clock."""
        minutes = self._recipe.checkpoint.every_minutes
        return minutes is not None and time.monotonic() - self._last_time >= 60 * minutes

    def is_due(self, step: int) -> bool:
        """Whether to save after `step`: the same on all processes."""
        every = self._recipe.checkpoint.every_steps
        return self.is_asked or (every is not None and step % every == 0 and step not in (0, self.last_step))

    def path_of(self, step: int) -> Path:
        """The directory of the checkpoint after `step`."""
        return self._root / checkpoint_name(step)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState, tracker: Tracker) -> None:
        """Write a checkpoint and remove those no longer kept.

        Raises:
            StorageError: on every process, when the first could not write it.
        """
        self.is_asked = False
        self._last_time = time.monotonic()
        files = tensor_files(model, optimizer)
        problem = None
        if self._processes.is_first:
            try:
                write_checkpoint(self._root, state.step, files, self._documents(state))
            except StorageError as error:
                problem = str(error)
        for file in files.values():  # sharded values are made by all processes together, also when a disk is full
            deque(file.values, maxlen=0)
        problem = self._processes.from_first(problem)
        if problem is not None:
            raise StorageError(problem)
        self.last_step = state.step
        if self._processes.is_first:
            best = state.step_of_best(self._recipe.export.score)
            prune(self._root, self._recipe.checkpoint.keep, best)
            aliases = ["latest", f"step-{state.step}", *(["best"] if best == state.step else [])]
            tracker.log_checkpoint(self.path_of(state.step), aliases)

    def _documents(self, state: TrainingState) -> dict[str, Any]:
        recipe = without_env(self._recipe).model_dump(mode="json")
        documents: dict[str, Any] = {STATE_FILE: state.to_json(), RECIPE_FILE: recipe}
        documents[BASE_RECORD] = asdict(self._base)
        if self._adapter_config is not None:
            documents[ADAPTER_CONFIG_FILE] = dict(self._adapter_config)
        return documents
