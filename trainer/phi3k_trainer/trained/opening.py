"""Opening what a run has learned: for evaluation, prediction and export."""

from dataclasses import dataclass
from pathlib import Path

import torch

from phi3k_trainer.checkpoints.base_record import check_base, find_base, read_base_record, record_base
from phi3k_trainer.checkpoints.files import checkpoint_name, checkpoint_step, find_damage, newest_verified
from phi3k_trainer.checkpoints.keeper import ANOTHER_CHECKPOINT, RECIPE_FILE, read_state
from phi3k_trainer.checkpoints.tensors import load_trained_weights
from phi3k_trainer.errors import MissingInputError, UsageError
from phi3k_trainer.files import damage_named, read_document
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import Attention
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.recipe.training import Weights
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
    checkpoint = find_checkpoint(path)
    recipe, device = read_recipe(checkpoint), device or torch.device("cpu")
    run = RunDirectory(checkpoint.parent.parent)
    recorded = read_base_record(checkpoint / BASE_RECORD, ANOTHER_CHECKPOINT)
    base = find_base(recipe, run, recorded)
    if recorded is not None:
        check_base(recorded, record_base(recipe, base), run.path, base)
    usable = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"attention": attention_on(device, recipe)})}
    )
    model = build_tuned_model(usable, base, device, quantize=quantize).model
    load_trained_weights(model, checkpoint)
    model.requires_grad_(requires_grad=False)
    model.eval()
    processor = Phi3VProcessor.from_pretrained(base, num_crops=recipe.model.num_crops)
    return Trained(model, processor, recipe, base, checkpoint, checkpoint_step(checkpoint))


def find_checkpoint(path: str | Path, weights: Weights = "last") -> Path:
    """The checkpoint that `path` is, or of a run's directory the newest whole one, or that of the best evaluation.

    Raises:
        UsageError: the best is asked of a single checkpoint.
        MissingInputError: there is no whole checkpoint, or none of the best evaluation.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_dir():
        raise MissingInputError(f"{path} is not there: name a run's directory or one of its checkpoints")
    if (path / RECIPE_FILE).is_file():
        if weights == "best":
            raise UsageError(f"{path} is a checkpoint, and the best is one of a run: name the run's directory")
        if damage := find_damage(path):
            raise MissingInputError(f"{path} is damaged ({damage}): name another checkpoint of the run")
        return path
    checkpoint, damaged = newest_verified(RunDirectory(path).checkpoints)
    if checkpoint is None:
        why = f"the newest is damaged ({damaged[0].damage})" if damaged else "there is none"
        raise MissingInputError(f"{path} has no whole checkpoint: {why}. Train first: phi3k train RECIPE")
    return checkpoint if weights == "last" else best_checkpoint(checkpoint, read_recipe(checkpoint).export.score)


def best_checkpoint(newest: Path, score: str | None) -> Path:
    """The checkpoint of the run's best evaluation by `score` (None: by the loss), as `newest` of the run knows it.

    Raises:
        MissingInputError: there was no such evaluation, or its checkpoint is gone or damaged.
    """
    step, name = read_state(newest).step_of_best(score), score or "the loss"
    if step is None:
        raise MissingInputError(
            f"no evaluation of {newest.parent.parent} has a value for {name}, so none is the best: take the last "
            "weights"
        )
    best = newest.with_name(checkpoint_name(step))
    damage = find_damage(best) if best.is_dir() else "it is not there"
    if damage:
        raise MissingInputError(f"{best}, of the best evaluation, can't be used ({damage}): take the last weights")
    return best


def read_recipe(checkpoint: Path) -> Recipe:
    """The recipe that a checkpoint was saved with. Raises MissingInputError when it can't be read."""
    with damage_named(checkpoint / RECIPE_FILE, ANOTHER_CHECKPOINT):
        text = read_document(checkpoint / RECIPE_FILE).decode()
    return parse_recipe(text, origin=str(checkpoint / RECIPE_FILE))


def attention_on(device: torch.device, recipe: Recipe) -> Attention:
    """The recipe's attention kernel, where the device has it: flash attention is for GPUs only."""
    attention = recipe.model.attention
    return "auto" if device.type == "cpu" and attention == "flash_attention_2" else attention
