"""From a recipe to a trained model: the one path of `phi3k train`, alone or under torchrun."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text
from torch import nn

from phi3k_trainer.checkpoints.files import clean_up, newest_verified, set_aside
from phi3k_trainer.checkpoints.keeper import CheckpointKeeper, read_state
from phi3k_trainer.checkpoints.state import TrainingState
from phi3k_trainer.checkpoints.tensors import load_optimizer, load_trained_weights
from phi3k_trainer.data.answer_lengths import AnswerLengths
from phi3k_trainer.data.order import plan_steps
from phi3k_trainer.distributed.gpus import check_product
from phi3k_trainer.distributed.processes import Processes, joined_processes
from phi3k_trainer.errors import MissingInputError, Phi3kError, TrainingError
from phi3k_trainer.evaluation.best import check_score
from phi3k_trainer.evaluation.evaluate import Evaluation, ScoredAnswers, evaluate
from phi3k_trainer.evaluation.generation import Generator, StoppedError
from phi3k_trainer.planning.layout import Layout
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.replica.finished import record_end
from phi3k_trainer.replica.health import Health
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.terminal import escaped_line
from phi3k_trainer.tracking.console import line_tracker
from phi3k_trainer.tracking.report import write_report
from phi3k_trainer.tracking.start import run_id, start_tracking
from phi3k_trainer.tracking.tracker import Tracker
from phi3k_trainer.trained.at_end import check_export_place, write_export_at_end
from phi3k_trainer.training.allocator import return_large_blocks
from phi3k_trainer.training.devices import model_shape, picture_cache_bytes, speed_meter, training_layout
from phi3k_trainer.training.directory import claim, evaluation_of, forget_results_after, held
from phi3k_trainer.training.loop import Loop
from phi3k_trainer.training.optimization import adamw
from phi3k_trainer.training.parallel import TokenLoss, replicate, shard
from phi3k_trainer.training.preemption import PreemptedError, StopNow, StopRequest
from phi3k_trainer.training.run_inputs import RunInputs, prepare_run
from phi3k_trainer.tuning.model import build_tuned_model, torch_dtype
from phi3k_trainer.tuning.parameter_groups import parameter_groups
from phi3k_trainer.tuning.precision import Precision


@dataclass(frozen=True)
class RunResult:
    """What a finished run has left behind."""

    directory: RunDirectory
    steps: int
    """Optimiser steps of the whole run, over all restarts."""
    checkpoint: Path
    """The last one."""
    evaluation: Evaluation | None
    """None where no row is held out."""
    report: Path
    export: Path | None = None
    """None without export.at_end."""


def train(recipe: Recipe, *, resume: bool = False, console: Console | None = None) -> RunResult:
    """Train as `recipe` says, in the run directory that it names, and evaluate what came out.

    Args:
        recipe: The recipe in force.
        resume: Continue from the newest intact checkpoint, if there is one.
        console: Where the first process prints; None: standard output.

    Raises:
        PreemptedError: asked to stop by SIGTERM or Ctrl-C, and saved.
        Phi3kError: with the message and the exit code for the user.
    """
    stop_request = StopRequest()
    directory = RunDirectory(recipe.run_path)
    with (
        stop_request.listening(),
        joined_processes() as processes,
        held(directory) if processes.is_first else nullcontext(),
    ):
        check_product(processes.device, torch_dtype(recipe))
        if processes.device.type == "cpu":
            return_large_blocks()
        screen = (console or Console()) if processes.is_first else Console(quiet=True)
        if processes.is_first:
            claim(directory, recipe, resume=resume)
            check_export_place(recipe, directory)
            clean_up(directory.checkpoints)
        health = Health.of_this_process(os.environ)
        with ExitStack() as ending:
            result = _learn(recipe, directory, processes, stop_request, screen, health, ending)
            if recipe.export.at_end:
                result = replace(result, export=_export(recipe, result, processes, screen, health))
        if processes.is_first:
            record_end(directory.path, recipe, result.steps, result.checkpoint)
        return result


def _learn(
    recipe: Recipe,
    directory: RunDirectory,
    processes: Processes,
    stop_request: StopRequest,
    screen: Console,
    health: Health,
    ending: ExitStack,
) -> RunResult:
    """Train, evaluate and report; the tracker is given the exit code by `ending`."""
    inputs = prepare_run(recipe, directory, processes, screen, health)
    health.enter("building")
    checkpoint = processes.from_first(_checkpoint_to_resume(directory, screen) if processes.is_first else None)
    state = read_state(checkpoint) if checkpoint else TrainingState()
    state.wandb_run_id = processes.from_first(run_id(state.wandb_run_id))
    loop = _build_loop(recipe, directory, inputs, processes, stop_request, state, checkpoint, health)
    if processes.is_first:
        forget_results_after(directory, state.step)
        loop.tracker = start_tracking(
            recipe,
            directory.path,
            run_id=state.wandb_run_id,
            step=state.step,
            total_steps=len(loop.plan),
            console=screen,
        )
        lengths = AnswerLengths.of(inputs.evaluation.num_answer_tokens, recipe.evaluation.max_new_tokens)
        if remark := lengths.remark():
            loop.tracker.note(remark)
    ending.enter_context(_exit_code_reported(loop.tracker))
    with stop_request.deferred():
        loop.run()
        health.enter("evaluating")
        evaluation = _evaluate(loop, inputs)
        health.enter("finishing")
    if processes.is_first:
        write_report(directory.path)
        screen.print(Text(escaped_line(f"report: {directory.report}")), soft_wrap=True)
    return RunResult(directory, state.step, loop.keeper.path_of(state.step), evaluation, directory.report)


def _export(recipe: Recipe, result: RunResult, processes: Processes, screen: Console, health: Health) -> Path:
    """Write the export in the first process; the others wait, since a cluster ends a job with its first pod."""
    health.enter("exporting" if processes.is_first else "waiting")
    gc.collect()  # the model that was trained: the export holds one of its own
    with processes.first_goes_first():
        if processes.is_first:
            screen.print(Text(escaped_line(f"the run is saved in {result.checkpoint}; now its export is written")))
            made = write_export_at_end(recipe, result.directory, result.checkpoint, health.beat)
            of_best = f", the best by {made.score or 'the loss'}" if made.weights == "best" else ""
            message = f"export: {result.directory.export} (step {made.step}{of_best})"
            if made.only_phi3k_because:
                message += f". Other programs can't load it: {made.only_phi3k_because}"
            screen.print(Text(escaped_line(message)), soft_wrap=True)
    health.enter("finishing")
    return result.directory.export


def _evaluate(loop: Loop, inputs: RunInputs) -> Evaluation | None:
    """Evaluate the trained model by generation, once. Raises PreemptedError when asked to stop during it."""
    held_out = inputs.evaluation.examples
    if not held_out:
        return None
    recipe, step = loop.recipe, loop.state.step
    earlier = loop.processes.from_first(evaluation_of(loop.directory, step) if loop.processes.is_first else None)
    if earlier is not None:
        return earlier
    scored = loop.scored if loop.scored is not None and loop.scored.evaluation.step == step else None
    try:
        evaluated = evaluate(
            loop.generator,
            inputs.dataset.train,
            held_out,
            recipe,
            step=step,
            blind=recipe.evaluation.blind,
            answered=scored.predictions if scored else None,
        )
    except StoppedError:
        loop.tracker.preempting()
        checkpoint = str(loop.keeper.path_of(step))
        message = f"asked to stop during the last evaluation; the training is done and saved in {checkpoint}. "
        raise PreemptedError(message + "--resume evaluates again", step, checkpoint) from None
    if loop.processes.is_first:
        loop.tracker.log(step, evaluated.evaluation.metrics())
        loop.tracker.log_predictions(step, evaluated.predictions[: recipe.evaluation.table_samples])
        evaluated.write(loop.directory.path)
    return evaluated.evaluation


def _checkpoint_to_resume(directory: RunDirectory, screen: Console) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all."""
    checkpoint, damaged = newest_verified(directory.checkpoints)
    for found in damaged:
        remark = f"{found.path} is damaged ({found.damage}); looking for an older checkpoint"
        screen.print(Text(escaped_line(remark)), soft_wrap=True)
    if damaged and checkpoint is None:
        raise MissingInputError(
            f"no checkpoint in {directory.checkpoints} is intact; the newest: {damaged[0].damage}. "
            "Restore one from a backup, or move the run's directory away to start again"
        )
    set_aside(damaged)
    if checkpoint is not None:
        screen.print(Text(escaped_line(f"continuing from {checkpoint}")), soft_wrap=True)
    return checkpoint


def _build_loop(
    recipe: Recipe,
    directory: RunDirectory,
    inputs: RunInputs,
    processes: Processes,
    stop_request: StopRequest,
    state: TrainingState,
    checkpoint: Path | None,
    health: Health,
) -> Loop:
    """Put model, optimiser and data together, as they were at `checkpoint` if there is one."""
    training, dtype = recipe.training, torch_dtype(recipe)
    shape = model_shape(inputs.base)
    layout = training_layout(recipe, shape, processes)
    _introduce(processes, layout, recipe.name)
    plan = plan_steps(
        training.seed,
        inputs.train.num_tokens,
        training.tokens_per_step,
        epochs=training.epochs,
        max_steps=training.max_steps,
    )
    tuned = build_tuned_model(recipe, inputs.base, processes.device, recompute=layout.activation_checkpointing)
    model = tuned.model.train()
    loss: nn.Module = TokenLoss(model)
    if layout.parallel == "fsdp":
        shard(model, processes, dtype)
    else:
        loss = replicate(loss, processes)
    optimizer = adamw(parameter_groups(model, training, recipe.tuning), training.betas)
    if checkpoint is not None:
        load_trained_weights(model, checkpoint)
        load_optimizer(model, optimizer, checkpoint)
    precision = Precision(dtype, use_autocast=recipe.model.dtype == "bfloat16" and layout.parallel == "ddp")
    generator = Generator(
        model,
        inputs.encoder,
        inputs.tokenizer,
        max_new_tokens=recipe.evaluation.max_new_tokens,
        batch_size=recipe.evaluation.batch_size,
        processes=processes,
        precision=lambda: precision.context(processes.device),
        should_stop=lambda: _should_stop(stop_request, health),
    )
    return Loop(
        recipe=recipe,
        processes=processes,
        model=model,
        loss=loss,
        optimizer=optimizer,
        precision=precision,
        encoder=inputs.encoder.with_cache(picture_cache_bytes()),
        train_data=inputs.train,
        evaluation_data=inputs.evaluation,
        plan=plan,
        state=state,
        keeper=CheckpointKeeper(
            directory.checkpoints,
            recipe,
            processes,
            tuned.adapter_config,
            inputs.base_record,
            state.step if checkpoint else None,
        ),
        tracker=Tracker(),
        stop_request=stop_request,
        speed=speed_meter(recipe, shape, inputs.train, processes),
        directory=directory,
        generator=generator,
        answer_held_out=_answering(recipe, inputs, generator),
        health=health,
    )


def _answering(recipe: Recipe, inputs: RunInputs, generator: Generator) -> Callable[[int], ScoredAnswers] | None:
    """What an evaluation in training does for export.score, if it needs one. Raises RecipeError for an absent score."""
    if recipe.export.score is None:
        return None
    train, held_out = inputs.dataset.train, inputs.evaluation.examples
    check_score(recipe, train)
    return lambda step: evaluate(generator, train, held_out, recipe, step=step, blind=False)


def _should_stop(stop_request: StopRequest, health: Health) -> bool:
    """Whether the run should stop. It is called before every batch of answers, so it reports progress too."""
    health.beat()
    return stop_request.requested


def _introduce(processes: Processes, layout: Layout, name: str) -> None:
    """Let each of several processes log what it is: otherwise the log of a replica without the first would be empty."""
    if processes.world_size > 1:
        how = "sharded (FSDP2)" if layout.parallel == "fsdp" else "replicated (DDP)"
        message = f"rank {processes.rank} of {processes.world_size} on {processes.device}, weights {how}"
        line_tracker(Console(), name, 0, 0).note(message)


@contextmanager
def _exit_code_reported(tracker: Tracker) -> Iterator[None]:
    """Report the exit code that the block ends with to the tracker."""
    exit_code = TrainingError.exit_code
    try:
        yield
        exit_code = 0
    except Phi3kError as error:
        exit_code = error.exit_code
        raise
    except StopNow:
        tracker.preempting()
        exit_code = PreemptedError.exit_code
        raise
    finally:
        tracker.finish(exit_code)
