"""`phi3k eval` and `phi3k predict`: asking a model that was trained."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from phi3k_trainer.data.dataset import StoredImage, prepare_dataset
from phi3k_trainer.data.encoding import Encoder, measure_examples
from phi3k_trainer.distributed.gpus import check_product, device_of
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.errors import DataError, MissingInputError, UsageError
from phi3k_trainer.evaluation.evaluate import ScoredAnswers, evaluate
from phi3k_trainer.evaluation.generation import Generator, Question
from phi3k_trainer.files import read_document, write_atomically
from phi3k_trainer.images.decode import ImageError, decode_image, image_header
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import load_model, resolve_base
from phi3k_trainer.model.processor import Phi3VProcessor
from phi3k_trainer.progress import Progress
from phi3k_trainer.prompts.conversation import Turn, with_image_tags
from phi3k_trainer.recipe import Recipe, dump_recipe, override_recipe, without_env
from phi3k_trainer.recipe.model import TINY
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.templates.text import Template
from phi3k_trainer.tracking.report import write_report
from phi3k_trainer.trained.opening import Trained, load_trained
from phi3k_trainer.tuning.model import torch_dtype
from phi3k_trainer.tuning.precision import Precision


@dataclass(frozen=True)
class EvaluatedRun:
    """What `phi3k eval` has found, and where it is written."""

    evaluated: ScoredAnswers
    directory: Path
    report: Path


def evaluate_run(source: str | Path, overrides: Sequence[str] = (), *, console: Console | None = None) -> EvaluatedRun:
    """Evaluate a run on its held-out rows, and write evaluation.json, the predictions and report.html beside it.

    Args:
        source: A run's directory (its newest whole checkpoint is taken) or one of its checkpoints.
        overrides: Changes to the run's recipe, such as `evaluation.max_samples=1000` or another `data.path`.
        console: Where progress is shown; None: nowhere.

    Raises:
        MissingInputError: there is no whole checkpoint.
        DataError: no row is held out, or the data can't be used.
        RecipeError: an override is wrong.
        UnavailableError: the device computes wrong.
        StorageError: the results can't be written.
    """
    screen = console or Console(quiet=True)
    with screen.status("loading the model"):
        trained = load_trained(source, device_of(0))
        recipe = override_recipe(trained.recipe, overrides, origin=str(source))
    return _evaluate(
        _generator(trained.model, trained.processor, recipe), recipe, trained.directory, trained.step, screen
    )


def evaluate_base(recipe: Recipe, *, console: Console | None = None) -> EvaluatedRun:
    """Evaluate the model that `recipe` starts from, as it is, into the directory `before` of the recipe's run.

    What a run scores means little without what its base scored on the same rows.

    Raises:
        UsageError: the recipe starts from random weights, which have nothing to say.
        MissingInputError: the base model is not there.
        DataError: no row is held out, or the data can't be used.
        StorageError: the results can't be written.
    """
    if recipe.model.base == TINY:
        raise UsageError("the recipe starts from random weights (model.base is 'tiny'): there is nothing to evaluate")
    screen = console or Console(quiet=True)
    with screen.status("loading the model"):
        base = resolve_base(recipe.model.base, recipe.model.revision, recipe.data.cache)
        model = load_model(base, dtype=torch_dtype(recipe), attention=recipe.model.attention, device=device_of(0))
        processor = Phi3VProcessor.from_pretrained(base, num_crops=recipe.model.num_crops)
    directory = RunDirectory(recipe.run_path).before.path
    write_atomically(RunDirectory(directory).recipe, dump_recipe(without_env(recipe)).encode(), "checkpoint.directory")
    return _evaluate(_generator(model.eval(), processor, recipe), recipe, directory, 0, screen)


def _evaluate(generator: Generator, recipe: Recipe, directory: Path, step: int, screen: Console) -> EvaluatedRun:
    with screen.status("preparing the data") as status:

        def show(progress: Progress) -> None:
            status.update(f"{progress.stage}: {progress.done}/{progress.total or '?'}")

        dataset = prepare_dataset(recipe, None, show)
        longest = min(recipe.data.max_tokens, generator.model.config.max_position_embeddings)
        held_out = dataset.evaluation[: recipe.evaluation.max_samples]
        held_out = measure_examples(generator.encoder, held_out, longest).examples
        status.update(f"answering for {len(held_out)} rows")
        evaluated = evaluate(generator, dataset.train, held_out, recipe, step=step, blind=recipe.evaluation.blind)
    evaluated.write(directory)
    return EvaluatedRun(evaluated, directory, write_report(directory))


def predict(source: str | Path | Trained, images: Sequence[str | Path], *, prompt: str | None = None) -> list[str]:
    """Answer the recipe's question (or `prompt`) about each picture.

    Args:
        source: A run's directory or one of its checkpoints, or a run that is open already.
        images: Picture files, at least one.
        prompt: What to ask instead of data.prompt.

    Returns:
        One answer a picture, in order.

    Raises:
        MissingInputError: a picture or a whole checkpoint is not there.
        DataError: a file is not a picture that can be used.
        UsageError: data.prompt takes columns of a row, so that a prompt has to be given.
    """
    pictures = [_read_picture(Path(image)) for image in images]
    trained = source if isinstance(source, Trained) else load_trained(source, device_of(0))
    data = trained.recipe.data
    for picture in pictures:
        _check_pixels(picture.path, data.max_pixels)
    if prompt is None and Template(data.prompt).fields:
        raise UsageError(f"the run's question '{data.prompt}' takes columns of a row: say what to ask with --prompt")
    question = Template(data.prompt).render({}) if prompt is None else prompt
    system = (Turn("system", Template(data.system).render({})),) if data.system else ()
    turns = (*system, Turn("user", with_image_tags(question, num_images=1)))
    questions = [Question(str(picture.path), turns, (picture,)) for picture in pictures]
    return _generator(trained.model, trained.processor, trained.recipe).answers(questions)


def _read_picture(path: Path) -> StoredImage:
    try:
        content = read_document(path)
    except OSError as error:
        raise MissingInputError(f"{path} can't be read: {error.strerror}") from error
    try:
        _, width, height = image_header(content)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error
    return StoredImage(path, hashlib.sha256(content).hexdigest(), width, height)


def _check_pixels(path: Path, max_pixels: int) -> None:
    try:
        decode_image(read_document(path), max_pixels=max_pixels)
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def _generator(model: Phi3VForCausalLM, processor: Phi3VProcessor, recipe: Recipe) -> Generator:
    processes = Processes(0, 1, next(model.parameters()).device)
    check_product(processes.device, torch_dtype(recipe))
    precision = Precision(torch_dtype(recipe), use_autocast=recipe.model.dtype == "bfloat16")
    tokenizer = processor.tokenizer
    encoder = Encoder(tokenizer, model.config, num_crops=recipe.model.num_crops, max_pixels=recipe.data.max_pixels)
    return Generator(
        model,
        encoder,
        tokenizer,
        max_new_tokens=recipe.evaluation.max_new_tokens,
        batch_size=recipe.evaluation.batch_size,
        processes=processes,
        precision=lambda: precision.context(processes.device),
    )
