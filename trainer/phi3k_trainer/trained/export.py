"""From a run's checkpoint to files that any program for Phi-3-Vision or PEFT reads, proved by reading them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from phi3k_trainer.checkpoints.keeper import ADAPTER_CONFIG_FILE
from phi3k_trainer.checkpoints.tensors import ADAPTER_FILE, WEIGHTS_FILE
from phi3k_trainer.errors import OutputError, StorageError, UsageError
from phi3k_trainer.files import new_directory, read_json, write_json
from phi3k_trainer.model.loading import hub_id, load_model, save_model
from phi3k_trainer.trained.adapter_config import short_adapter_config
from phi3k_trainer.trained.opening import load_trained
from phi3k_trainer.trained.proof import MERGED, SAME_WEIGHTS, check_difference, difference, example, logits_of
from phi3k_trainer.trained.published_layout import complete_layout, find_remote_code
from phi3k_trainer.tuning.adapters import merge_adapters
from phi3k_trainer.tuning.model import torch_dtype
from phi3k_trainer.tuning.precision import Precision


@dataclass(frozen=True)
class Export:
    """What was exported, and how closely it computes what the run computed."""

    path: Path
    step: int
    """The optimiser step of the checkpoint."""
    reload_difference: float
    """Relative difference of the logits between what was written and what was read again: 0 is the same."""
    merge_difference: float
    """Relative difference of the logits between the trained model and the exported weights in their dtype."""
    only_phi3k_because: str = ""
    """Why no other program can load it; empty where vLLM, transformers and others can."""


def export_run(source: str | Path, destination: str | Path) -> Export:
    """Write what a run has learned as a whole model in the published layout, in the recipe's dtype.

    Adapters are merged. What was written is read again, and its logits for a question about a picture are compared
    with those from before, before the files get their place.

    Args:
        source: A run's directory (its newest whole checkpoint is taken) or one of its checkpoints.
        destination: A directory that doesn't exist or is empty.

    Raises:
        MissingInputError: There is no whole checkpoint, or the base model is gone.
        OutputError: The destination is taken.
        StorageError: It can't be written.
        TrainingError: The written model computes something else.
    """
    destination = Path(destination).expanduser().absolute()
    with _put_in_place(destination) as unfinished:
        trained = load_trained(source, quantize=False)
        dtype = torch_dtype(trained.recipe)
        inputs = example(trained.processor)
        model, device = trained.model, next(trained.model.parameters()).device
        with Precision(dtype, use_autocast=trained.recipe.model.dtype == "bfloat16").context(device):
            learned = logits_of(model, inputs)
        merge_adapters(model)
        model.to(dtype)
        merged = logits_of(model, inputs)
        merge_difference = check_difference(difference(merged, learned), MERGED[dtype], "the merged model")
        base = trained.base
        code = find_remote_code(
            base, hub_id(trained.recipe.model.base), is_published_tower=model.config.has_published_tower
        )
        save_model(model, unfinished)
        trained.processor.image_processor.save_pretrained(unfinished)
        complete_layout(unfinished, base, code)
        step, attention = trained.step, trained.recipe.model.attention
        del trained, model  # so that the model to compare with is the only one in memory
        reloaded = logits_of(load_model(unfinished, dtype=dtype, attention=attention, device=device), inputs)
        reload_difference = check_difference(difference(reloaded, merged), SAME_WEIGHTS, "the model read again")
    return Export(destination, step, reload_difference, merge_difference, code.absent)


def export_adapters(source: str | Path, destination: str | Path) -> Export:
    """Write the adapters of a run alone, in PEFT's format, and prove that PEFT puts them where they were trained.

    Args:
        source: As in `export_run`.
        destination: As in `export_run`.

    Raises:
        UsageError: The run trained no adapters, or other weights besides, which adapters can't carry.
        MissingInputError, OutputError, StorageError, TrainingError: As in `export_run`.
    """
    destination = Path(destination).expanduser().absolute()
    with _put_in_place(destination) as unfinished:
        trained = load_trained(source, quantize=False)
        if not (trained.checkpoint / ADAPTER_FILE).is_file():
            raise UsageError(f"{trained.checkpoint} has no adapters (tuning.method is 'full'): export the whole model")
        if (trained.checkpoint / WEIGHTS_FILE).is_file():
            raise UsageError(
                f"{trained.checkpoint} has fully trained weights besides its adapters, which would be lost:"
                " export the whole model"
            )
        inputs = example(trained.processor)
        dtype, device = torch_dtype(trained.recipe), next(trained.model.parameters()).device
        precision = Precision(dtype, use_autocast=trained.recipe.model.dtype == "bfloat16")
        with precision.context(device):
            learned = logits_of(trained.model, inputs)
        shutil.copyfile(trained.checkpoint / ADAPTER_FILE, unfinished / ADAPTER_FILE)
        adapter_config = read_json(trained.checkpoint / ADAPTER_CONFIG_FILE)
        write_json(unfinished / ADAPTER_CONFIG_FILE, short_adapter_config(adapter_config))
        base, step = trained.base, trained.step
        del trained
        adapted = PeftModel.from_pretrained(load_model(base, dtype=dtype, device=device), unfinished)
        with precision.context(device):
            reloaded = logits_of(adapted.eval(), inputs)
        found = check_difference(difference(reloaded, learned), MERGED[dtype], "PEFT with the adapters read again")
    return Export(destination, step, found, 0.0)


@contextmanager
def _put_in_place(destination: Path) -> Iterator[Path]:
    """A new directory to write to, which takes its place at `destination` when the block is through."""
    if _is_taken(destination):
        raise OutputError(f"{destination} is taken: name a directory that doesn't exist or is empty")
    try:
        with new_directory(destination) as unfinished:
            yield unfinished
    except OSError as problem:
        raise StorageError(f"{destination} can't be written: {problem}") from problem


def _is_taken(destination: Path) -> bool:
    if destination.is_symlink():
        return True
    return destination.exists() and (not destination.is_dir() or any(destination.iterdir()))
