"""Opening what a run has learned: for evaluation, prediction and export."""

from dataclasses import dataclass
from pathlib import Path

import torch

from phi3k_trainer.checkpoints.base_record import check_base, find_base, read_base_record, record_base
from phi3k_trainer.checkpoints.files import checkpoint_step, find_damage, newest_verified
from phi3k_trainer.checkpoints.keeper import ANOTHER_CHECKPOINT, RECIPE_FILE
from phi3k_trainer.checkpoints.tensors import load_trained_weights
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.files import damage_named, read_document
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.run_directory import BASE_RECORD, RunDirectory
from phi3k_trainer.tuning.model import build_tuned_model


@dataclass(frozen=True)
class Trained:
    """A trained model and where it comes from."""

    model: Phi3VForCausalLM
    """For evaluation: no dropout, no gradients asked for. Adapters are attached, not merged."""
    processor: Phi3VProcessor
    recipe: Recipe
    """The recipe that it was trained by."""
    base: Path
    """The model that training started from."""
    checkpoint: Path
    step: int

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.checkpoint.parent.parent


def load_trained(path: str | Path, device: torch.device | None = None, *, quantize: bool = True) -> Trained:
    """Open the newest whole checkpoint of a run's directory, or the one checkpoint that `path` is.

    Args:
        path: A run's directory or one of its checkpoints.
        device: Where the weights shall be; None: the CPU.
        quantize: False leaves QLoRA's frozen weights whole, to merge adapters into.

    Raises:
        MissingInputError: there is no whole checkpoint at `path`, or the model it belongs to is gone.
        DataError: that model is no longer what the run began with.
        UnavailableError: the base model or bitsandbytes can't be had.
    """
    checkpoint = _find_checkpoint(Path(path))
    with damage_named(checkpoint / RECIPE_FILE, ANOTHER_CHECKPOINT):
        text = read_document(checkpoint / RECIPE_FILE).decode()
    recipe = parse_recipe(text, origin=str(checkpoint / RECIPE_FILE))
    run = RunDirectory(checkpoint.parent.parent)
    recorded = read_base_record(checkpoint / BASE_RECORD, ANOTHER_CHECKPOINT)
    base = find_base(recipe, run, recorded)
    if recorded is not None:
        check_base(recorded, record_base(recipe, base), run.path, base)
    model = build_tuned_model(recipe, base, device or torch.device("cpu"), quantize=quantize).model
    load_trained_weights(model, checkpoint)
    model.requires_grad_(requires_grad=False)
    model.eval()
    processor = Phi3VProcessor.from_pretrained(base, num_crops=recipe.model.num_crops)
    return Trained(model, processor, recipe, base, checkpoint, checkpoint_step(checkpoint))


def _find_checkpoint(path: Path) -> Path:
    path = path.expanduser().absolute()
    if not path.is_dir():
        raise MissingInputError(f"{path} is not there: name a run's directory or one of its checkpoints")
    if (path / RECIPE_FILE).is_file():
        if damage := find_damage(path):
            raise MissingInputError(f"{path} is damaged ({damage}): name another checkpoint of the run")
        return path
    checkpoint, damaged = newest_verified(RunDirectory(path).checkpoints)
    if checkpoint is None:
        why = f"the newest is damaged ({damaged[0].damage})" if damaged else "there is none"
        raise MissingInputError(f"{path} has no whole checkpoint: {why}. Train first: phi3k train RECIPE")
    return checkpoint
