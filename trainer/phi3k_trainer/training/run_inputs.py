"""What has to be there before the first step: the data, the model to start from, and the size of every sample."""

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.checkpoints.base_record import BaseRecord, check_base, find_base, read_base_record, record_base
from phi3k_trainer.data.dataset import Dataset, Example, prepare_dataset
from phi3k_trainer.data.encoding import Encoder, MeasuredExamples, measure_examples
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.errors import DataError
from phi3k_trainer.files import encode_json, write_atomically
from phi3k_trainer.model import Phi3VConfig
from phi3k_trainer.model.loading import load_config
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.progress import Progress
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.model import TINY
from phi3k_trainer.replica.health import Health
from phi3k_trainer.run_directory import BASE_RECORD, REMEDIES, RunDirectory
from phi3k_trainer.terminal import escaped_line


@dataclass(frozen=True)
class RunInputs:
    """The data and the model of a run: what it learns from, is measured on, and starts from."""

    dataset: Dataset
    base: Path
    """Directory of the model in the published layout."""
    base_record: BaseRecord
    config: Phi3VConfig
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    train: MeasuredExamples
    evaluation: MeasuredExamples
    """The held-out rows that the recipe uses; possibly none."""


def prepare_run(
    recipe: Recipe, directory: RunDirectory, processes: Processes, screen: Console, health: Health
) -> RunInputs:
    """Read data and model for a run; the first process does the long work, the others use its results.

    Raises:
        DataError: the data can't be used, processes see different data or models, or the model is not what the run
            began with.
        MissingInputError, UnavailableError: data or model are not there, or their records can't be read.
    """
    health.enter("preparing" if processes.is_first else "waiting")
    with processes.first_goes_first(), screen.status("reading the data") as status:

        def show(progress: Progress) -> None:
            health.beat()
            failed = f", {progress.failed} failed" if progress.failed else ""
            status.update(f"{progress.stage}: {progress.done}/{progress.total or '?'}{failed}")

        dataset = prepare_dataset(recipe, directory.path, show)
        if processes.is_first:
            for remark in dataset.remarks:
                screen.print(Text(escaped_line(f"note: {remark}")), soft_wrap=True)
        base = _base_model(recipe, directory, dataset)
        status.update("counting tokens")
        config = load_config(base)
        tokenizer = load_tokenizer(base)
        encoder = Encoder(tokenizer, config, num_crops=recipe.model.num_crops, max_pixels=recipe.data.max_pixels)
        max_tokens = min(recipe.data.max_tokens, config.max_position_embeddings)
        train = measure_examples(encoder, dataset.train, max_tokens)
        held_out = dataset.evaluation[: recipe.evaluation.max_samples]
        evaluation = measure_examples(encoder, held_out, max_tokens)
        rejections = (*train.rejections, *evaluation.rejections)
        if rejections and processes.is_first:
            dataset.quarantine.extended(rejections).check_budget(recipe.data.error_budget)
    if not train.examples:
        raise DataError(f"no row is left to train on; {dataset.quarantine.path} lists why each was set aside")
    if processes.from_first(dataset.digest) != dataset.digest:
        raise DataError("processes see different data: set data.cache to one directory that all of them share")
    base_record = _same_base(recipe, directory, base, processes)
    return RunInputs(dataset, base, base_record, config, tokenizer, encoder, train, evaluation)


def _same_base(recipe: Recipe, directory: RunDirectory, base: Path, processes: Processes) -> BaseRecord:
    """The record of the base, once it is known to be what the run began with, on every machine."""
    own = record_base(recipe, base) if os.environ.get("LOCAL_RANK", "0") == "0" else None
    first, *others = [record for record in processes.gather(own) if record is not None]
    if any(other != first for other in others):
        raise DataError("processes see different models: set model.base to the same files for all of them")
    recorded = read_base_record(directory.base_record, REMEDIES[BASE_RECORD])
    if recorded is not None:
        check_base(recorded, first, directory.path, base)
    elif processes.is_first:
        write_atomically(directory.base_record, encode_json(first, indent=2), "checkpoint.directory")
    return first


def _base_model(recipe: Recipe, directory: RunDirectory, dataset: Dataset) -> Path:
    if recipe.model.base == TINY:
        examples: tuple[Example, ...] = tuple(dataset.train)
        texts = (turn.text for example in examples for turn in example.turns)
        build_tiny(recipe.model.tiny, texts, recipe.training.seed, directory.base)
    return find_base(recipe, directory, read_base_record(directory.base_record, REMEDIES[BASE_RECORD]))
