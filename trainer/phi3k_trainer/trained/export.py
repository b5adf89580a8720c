"""From a run's checkpoint to files that any program for Phi-3-Vision or PEFT reads, proved by reading them."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from phi3k_trainer.checkpoints.files import checkpoint_step
from phi3k_trainer.checkpoints.keeper import ADAPTER_CONFIG_FILE
from phi3k_trainer.checkpoints.tensor_file import FileDigest
from phi3k_trainer.checkpoints.tensors import ADAPTER_FILE, WEIGHTS_FILE
from phi3k_trainer.directories import new_directory
from phi3k_trainer.errors import OutputError, StorageError, UsageError
from phi3k_trainer.files import read_json, reading, write_json
from phi3k_trainer.model.loading import hub_id, load_model
from phi3k_trainer.recipe.training import Form, Weights
from phi3k_trainer.trained.adapter_config import short_adapter_config
from phi3k_trainer.trained.opening import attention_on, find_checkpoint, load_trained
from phi3k_trainer.trained.proof import MERGED, SAME_WEIGHTS, check_difference, difference, example, logits_of
from phi3k_trainer.trained.published_layout import complete_layout, find_remote_code
from phi3k_trainer.trained.writing import write_model
from phi3k_trainer.tuning.adapters import merge_adapters
from phi3k_trainer.tuning.model import torch_dtype
from phi3k_trainer.tuning.precision import Precision


@dataclass(frozen=True)
class Export:
    """What was exported, and how closely it computes what the run computed."""

    path: Path
    step: int
    """The optimiser step of the checkpoint."""
    files: Mapping[str, FileDigest]
    """By their names."""
    reload_difference: float
    """Relative difference of the logits between what was written and what was read again: 0 is the same."""
    merge_difference: float
    """Relative difference of the logits between the trained model and the exported weights in their dtype."""
    only_phi3k_because: str = ""
    """Why no other program can load it; empty where vLLM, transformers and others can."""


def export_run(
    source: str | Path, destination: str | Path, *, form: Form = "merged", weights: Weights = "last"
) -> Export:
    """Write what a run has learned, in the recipe's dtype, and prove it before the files get their place.

    `merged` is a whole model in the published layout, read again and compared by its logits for a question about a
    picture. `adapter` is the adapters alone, in PEFT's format, put by PEFT where they were trained.

    Args:
        source: A run's directory or one of its checkpoints.
        destination: A directory that doesn't exist or is empty.
        form: What is written.
        weights: Of a run's directory, the newest whole checkpoint or the one of the best evaluation.

    Raises:
        UsageError: The run trained no adapters, or other weights besides, which adapters can't carry; or `source` is
            a checkpoint and the best is asked for.
        MissingInputError: There is no whole checkpoint, none of the best evaluation, or the base model is gone.
        OutputError: The destination is taken.
        StorageError: It can't be written.
        TrainingError: The written model computes something else.
    """
    destination = Path(destination).expanduser().absolute()
    if _is_taken(destination):
        raise OutputError(f"{destination} is taken: name a directory that doesn't exist or is empty")
    checkpoint = find_checkpoint(source, weights)
    with put_in_place(destination) as unfinished:
        return write_export(checkpoint, destination, unfinished, form, lambda: None)


@contextmanager
def put_in_place(destination: Path) -> Iterator[Path]:
    """A new directory to write to, which takes its place at `destination` when the block is through.

    Raises:
        StorageError: It can't be written.
    """
    try:
        with new_directory(destination) as unfinished:
            yield unfinished
    except OSError as problem:
        raise StorageError(f"{destination} can't be written: {problem.strerror or problem}") from problem


def write_export(checkpoint: Path, destination: Path, unfinished: Path, form: Form, beat: Callable[[], None]) -> Export:
    """Write a checkpoint to the directory `unfinished`, which `destination` will be, and prove it.

    Args:
        checkpoint: A whole one.
        destination: For the result.
        unfinished: An empty directory.
        form: What is written.
        beat: Called often, as a sign of life.

    Raises:
        OSError: It can't be written.
        UsageError, MissingInputError, TrainingError: As in `export_run`.
    """
    write = _write_merged if form == "merged" else _write_adapters
    return write(checkpoint, destination, unfinished, beat)


def _write_merged(checkpoint: Path, destination: Path, unfinished: Path, beat: Callable[[], None]) -> Export:
    trained = load_trained(checkpoint, quantize=False)
    recipe, base = trained.recipe, trained.base
    dtype = torch_dtype(recipe)
    inputs = example(trained.processor)
    model, device = trained.model, next(trained.model.parameters()).device
    beat()
    with Precision(dtype, use_autocast=recipe.model.dtype == "bfloat16").context(device):
        learned = logits_of(model, inputs)
    merge_adapters(model)
    model.to(dtype)
    beat()
    merged = logits_of(model, inputs)
    merge_difference = check_difference(difference(merged, learned), MERGED[dtype], "the merged model")
    code = find_remote_code(base, hub_id(recipe.model.base), is_published_tower=model.config.has_published_tower)
    weights = write_model(model, unfinished, beat)
    trained.processor.image_processor.save_pretrained(unfinished)
    complete_layout(unfinished, base, code)
    del trained, model  # so that the model to compare with is the only one in memory
    beat()
    attention = attention_on(device, recipe)
    reloaded = logits_of(load_model(unfinished, dtype=dtype, attention=attention, device=device), inputs)
    reload_difference = check_difference(difference(reloaded, merged), SAME_WEIGHTS, "the model read again")
    files = _digests(unfinished, weights)
    return Export(destination, checkpoint_step(checkpoint), files, reload_difference, merge_difference, code.absent)


def _write_adapters(checkpoint: Path, destination: Path, unfinished: Path, beat: Callable[[], None]) -> Export:
    if not (checkpoint / ADAPTER_FILE).is_file():
        raise UsageError(f"{checkpoint} has no adapters (tuning.method is 'full'): export the whole model")
    if (checkpoint / WEIGHTS_FILE).is_file():
        raise UsageError(
            f"{checkpoint} has fully trained weights besides its adapters, which would be lost: export the whole model"
        )
    trained = load_trained(checkpoint, quantize=False)
    inputs = example(trained.processor)
    dtype, device = torch_dtype(trained.recipe), next(trained.model.parameters()).device
    precision = Precision(dtype, use_autocast=trained.recipe.model.dtype == "bfloat16")
    beat()
    with precision.context(device):
        learned = logits_of(trained.model, inputs)
    shutil.copyfile(checkpoint / ADAPTER_FILE, unfinished / ADAPTER_FILE)
    write_json(unfinished / ADAPTER_CONFIG_FILE, short_adapter_config(read_json(checkpoint / ADAPTER_CONFIG_FILE)))
    base = trained.base
    del trained
    beat()
    adapted = PeftModel.from_pretrained(load_model(base, dtype=dtype, device=device), unfinished)
    with precision.context(device):
        reloaded = logits_of(adapted.eval(), inputs)
    found = check_difference(difference(reloaded, learned), MERGED[dtype], "PEFT with the adapters read again")
    return Export(destination, checkpoint_step(checkpoint), _digests(unfinished, {}), found, 0.0)


def _digests(directory: Path, known: Mapping[str, FileDigest]) -> Mapping[str, FileDigest]:
    """The digest of each file of the export; those of its weights are known from writing them."""
    files = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    return {path.name: known.get(path.name) or _digest(path) for path in files}


def _digest(path: Path) -> FileDigest:
    with reading(path) as file:
        return FileDigest(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _is_taken(destination: Path) -> bool:
    if destination.is_symlink():
        return True
    return destination.exists() and (not destination.is_dir() or any(destination.iterdir()))
