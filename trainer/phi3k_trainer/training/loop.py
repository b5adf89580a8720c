"""The loop from the first step to the last: train, evaluate, save, and stop on request."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phi3k_trainer.checkpoints.keeper import CheckpointKeeper
from phi3k_trainer.checkpoints.state import BestScore, TrainingState
from phi3k_trainer.contract import TRAIN_LOSS
from phi3k_trainer.data.batches import collate, split_step
from phi3k_trainer.data.encoding import Encoder, MeasuredExamples
from phi3k_trainer.data.order import StepPlan
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.errors import StorageError
from phi3k_trainer.evaluation.best import is_better, score_of
from phi3k_trainer.evaluation.evaluate import AnswerReader, ScoredAnswers, predict_examples
from phi3k_trainer.evaluation.generation import Generator, StoppedError
from phi3k_trainer.evaluation.predictions import Prediction, write_predictions
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.replica.health import Health
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.tracking.tracker import Tracker
from phi3k_trainer.training.harmful_steps import check_evaluation, count_step, reason_to_skip
from phi3k_trainer.training.loader import StepLoader
from phi3k_trainer.training.optimization import add_gradients, clip_gradients, evaluating
from phi3k_trainer.training.parallel import gradients_add_up_in_fixed_order
from phi3k_trainer.training.preemption import PreemptedError, StopRequest
from phi3k_trainer.training.schedule import learning_rate_factor
from phi3k_trainer.training.speed import SpeedMeter
from phi3k_trainer.tuning.precision import Precision


@dataclass
class Loop:
    """Everything that training needs, and how far it has come."""

    recipe: Recipe
    processes: Processes
    model: Phi3VForCausalLM
    loss: nn.Module
    """`model` as TokenLoss, replicated where there are several processes."""
    optimizer: torch.optim.Optimizer
    precision: Precision
    encoder: Encoder
    """Of the training rows; the held-out ones are encoded by the generator's, which keeps no pictures."""
    train_data: MeasuredExamples
    evaluation_data: MeasuredExamples
    """Possibly empty."""
    plan: StepPlan
    state: TrainingState
    keeper: CheckpointKeeper
    tracker: Tracker
    """Does nothing on every process but the first."""
    stop_request: StopRequest
    speed: SpeedMeter
    directory: RunDirectory
    generator: Generator
    answer_held_out: Callable[[int], ScoredAnswers] | None
    """Answers the held-out rows after a step and scores the answers; None where export.score asks for no score."""
    health: Health
    _stop_agreed: bool = field(default=False, init=False)
    """What the processes have agreed on."""
    scored: ScoredAnswers | None = field(default=None, init=False)
    """The last result of `answer_held_out`."""

    def run(self) -> None:
        """Train to the end of the plan, or until early stopping.

        Raises:
            PreemptedError: asked to stop; everything up to the last step is saved.
            StorageError: the last state could not be saved.
            TrainingError: the loss is not finite on held-out rows, or in training and the recipe or ten such steps in
                a row say stop.
        """
        self.health.begin_training(self.state.step, len(self.plan))
        with self._loader() as loader:
            gradients_add_up_in_fixed_order(self.loss, collate([]), self.processes)
            while True:
                if self._evaluation_is_due():
                    self._evaluate()
                if self._stop_agreed:
                    self._stop()
                if self.is_finished():
                    break
                # Weights that were just found to give no finite loss must not push out the last good checkpoint.
                if self.keeper.is_due(self.state.step) and not self.state.skipped_in_a_row:
                    self._save()
                self._step(loader)
            if self.keeper.last_step != self.state.step:
                self._save(must_succeed=True)

    def is_finished(self) -> bool:
        """Whether the plan is done, or early stopping has ended it."""
        patience = self.recipe.training.early_stop_patience
        stops_early = patience is not None and self.state.evaluations_since_best >= patience
        return self.state.step >= len(self.plan) or stops_early

    def _loader(self) -> StepLoader:
        training = self.recipe.training
        boundary: int = self.model.config.original_max_position_embeddings

        def steps() -> Iterator[list[list[int]]]:
            for step in range(self.state.step, len(self.plan)):
                shares = split_step(
                    self.plan.samples(step),
                    self.train_data.num_tokens,
                    training.tokens_per_batch,
                    self.processes.world_size,
                    length_boundary=boundary,
                )
                yield shares[self.processes.rank]

        return StepLoader(steps(), self.train_data.examples, self.encoder, training.loader_threads)

    def _step(self, loader: StepLoader) -> None:
        """Do one optimiser step, and agree on what comes after it."""
        training, state = self.recipe.training, self.state
        started, waited = time.monotonic(), loader.wait_seconds
        samples = self.plan.samples(state.step)
        step_labels = int(self.train_data.num_labels[samples].sum())
        cross_entropy = add_gradients(
            self.loss,
            loader.next_step(),
            step_labels=step_labels,
            processes=self.processes,
            precision=self.precision,
            dropout_key=f"{training.seed}/{state.step}",
        )
        cross_entropy, stop, save = self.processes.sum(
            [cross_entropy, self.stop_request.requested, self.processes.is_first and self.keeper.time_is_up()]
        )
        loss = cross_entropy / step_labels
        trained = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
        grad_norm = clip_gradients(trained, training.max_grad_norm, self.processes)
        reason = reason_to_skip(loss, grad_norm, state, training)
        if reason is None:
            self._set_learning_rates()
            self.optimizer.step()
        else:
            self.tracker.note(f"step {state.step + 1} skipped: {reason}")
        self.optimizer.zero_grad(set_to_none=True)
        count_step(state, loss, skipped=reason is not None)

        self._stop_agreed = stop > 0
        if save > 0:
            self.keeper.ask()
        self._count(samples, time.monotonic() - started, loader.wait_seconds - waited, loss, grad_norm)

    def _set_learning_rates(self) -> None:
        training = self.recipe.training
        factor = learning_rate_factor(
            self.state.step,
            len(self.plan),
            schedule=training.schedule,
            warmup_fraction=training.warmup_fraction,
            min_fraction=training.min_learning_rate_fraction,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_learning_rate"] * factor

    def _count(
        self, samples: NDArray[np.int64], seconds: float, wait_seconds: float, loss: float, grad_norm: float
    ) -> None:
        """Move the state on by one step, and log it."""
        state = self.state
        num_tokens = int(self.train_data.num_tokens[samples].sum())
        state.step += 1
        state.samples += len(samples)
        state.tokens += num_tokens
        state.seconds += seconds
        self.speed.add(num_tokens=num_tokens, num_samples=len(samples), seconds=seconds, wait_seconds=wait_seconds)
        self.health.step(
            state.step,
            samples=state.samples,
            tokens=state.tokens,
            loss=loss,
            tokens_per_second=num_tokens / seconds,
        )
        if state.step % self.recipe.tracking.every_steps and state.step < len(self.plan):
            return
        rates = {group["part"]: group["lr"] for group in self.optimizer.param_groups}
        self.tracker.log(
            state.step,
            {
                TRAIN_LOSS: loss,
                "train/epoch": state.samples / len(self.train_data.examples),
                "train/grad_norm": grad_norm,
                **{
                    "train/learning_rate" + ("" if part == "language" else f"_{part}"): rate
                    for part, rate in rates.items()
                },
                **self.speed.take(),
            },
        )

    def _evaluation_is_due(self) -> bool:
        state, every = self.state, self.recipe.evaluation.every_steps
        if not self.evaluation_data.examples or state.evaluated_step == state.step:
            return False
        return self.is_finished() or (every is not None and state.step % every == 0)

    def _evaluate(self) -> None:
        """Measure the loss on the held-out rows and fill the table of fixed samples; undone if asked to stop."""
        state = self.state
        with self.health.meanwhile("evaluating"), evaluating(self.model):
            loss = self._evaluation_loss()
            if loss is None:
                return
            saved = self.keeper.last_step
            check_evaluation(loss, state.step, None if saved is None else str(self.keeper.path_of(saved)))
            try:
                self.scored = self.answer_held_out(state.step) if self.answer_held_out else None
                table = self._answer_table()
            except StoppedError:
                self._stop_agreed = True
                return
        state.evaluated_step = state.step
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_step, state.evaluations_since_best = loss, state.step, 0
        else:
            state.evaluations_since_best += 1
        scores = self._note_scores()
        if state.step_of_best(self.recipe.export.score) == state.step:
            self.keeper.ask()
        self.tracker.log(state.step, {"eval/loss": loss, **scores})
        if table and self.processes.is_first:
            self.tracker.log_predictions(state.step, table)
            try:
                write_predictions(self.directory.predictions(state.step), table)
            except StorageError as error:
                self.tracker.note(f"{error}. Training continues")

    def _note_scores(self) -> Mapping[str, float]:
        """Record whether these are the best so far; returns those to log, which the last evaluation logs itself."""
        score, state = self.recipe.export.score, self.state
        if self.scored is None or score is None:
            return {}
        value, best = score_of(self.scored.evaluation, score), state.best_scored
        if value is not None and (best is None or best.score != score or is_better(score, value, best.value)):
            state.best_scored = BestScore(score, value, state.step)
        return {} if self.is_finished() else self.scored.evaluation.metrics()

    def _answer_table(self) -> Sequence[Prediction]:
        """The answers to the table of fixed samples; the last evaluation, after training, makes its own."""
        evaluation = self.recipe.evaluation
        if not evaluation.generate_during_training or self.is_finished():
            return ()
        if self.scored is not None:
            return self.scored.predictions[: evaluation.table_samples]
        samples = self.evaluation_data.examples[: evaluation.table_samples]
        return predict_examples(self.generator, samples, AnswerReader(self.recipe))

    def _evaluation_loss(self) -> float | None:
        """Mean cross entropy a label over the held-out rows that the recipe uses, or None when asked to stop."""
        data = self.evaluation_data
        shares = split_step(
            range(len(data.examples)),
            data.num_tokens,
            self.recipe.training.tokens_per_batch,
            self.processes.world_size,
            length_boundary=self.model.config.original_max_position_embeddings,
        )
        total = torch.zeros((), device=self.processes.device)
        with StepLoader(
            [shares[self.processes.rank]], data.examples, self.generator.encoder, self.recipe.training.loader_threads
        ) as loader:
            for batch in loader.next_step():
                with self.precision.context(self.processes.device):
                    total += self.model.token_loss(**batch.model_inputs(self.processes.device, self.precision.dtype))[0]
                self.health.beat()
                self._stop_agreed = self.processes.sum([self.stop_request.requested])[0] > 0
                if self._stop_agreed:
                    return None
        return self.processes.sum([total.item()])[0] / int(data.num_labels.sum())

    def _save(self, *, must_succeed: bool = False) -> None:
        """Save; after a failure, which is reported, training continues, unless this is the last save."""
        try:
            with self.health.meanwhile("saving"):
                self.keeper.save(self.model, self.optimizer, self.state, self.tracker)
        except StorageError as error:
            if must_succeed:
                raise
            self.tracker.note(f"{error}. Training continues")

    def _stop(self) -> None:
        if self.keeper.last_step != self.state.step or self.keeper.is_asked:
            self._save(must_succeed=True)
        self.tracker.preempting()
        step, checkpoint = self.state.step, str(self.keeper.path_of(self.state.step))
        message = f"asked to stop after step {step} of {len(self.plan)}; saved in {checkpoint}. Continue with --resume"
        raise PreemptedError(message, step, checkpoint)
