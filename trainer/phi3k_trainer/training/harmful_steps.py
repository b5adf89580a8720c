"""Harmful steps: losses and gradients that are not finite, and sudden spikes."""

import math
from statistics import median

from phi3k_trainer.checkpoints.state import SPIKE_WINDOW, TrainingState
from phi3k_trainer.errors import TrainingError
from phi3k_trainer.recipe.training import TrainingSection

MAX_SKIPPED_IN_A_ROW = 10
MIN_LOSSES_FOR_SPIKE = 10
"""Fewer losses than this don't show what is usual."""


def reason_to_skip(loss: float, grad_norm: float, state: TrainingState, training: TrainingSection) -> str | None:
    """Why the optimiser must not take this step, or None.

    Raises:
        TrainingError: the loss or gradient is not finite and training.on_nonfinite is `stop`, or this would be the
            tenth skipped step in a row.
    """
    reason = _reason(loss, grad_norm, state, training)
    if reason is None:
        return None
    if not (math.isfinite(loss) and math.isfinite(grad_norm)) and training.on_nonfinite == "stop":
        raise TrainingError(f"step {state.step + 1}: {reason}. {_ADVICE}, or set training.on_nonfinite to 'skip'")
    if state.skipped_in_a_row + 1 >= MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"step {state.step + 1}: {reason}, the {MAX_SKIPPED_IN_A_ROW}th step in a row that had to be skipped. "
            f"{_ADVICE}. The last checkpoint is older; --resume continues from it"
        )
    return reason


def check_evaluation(loss: float, step: int, checkpoint: str | None) -> None:
    """Refuse weights that are broken: no later step would bring them back, and they must not become the best ones.

    Args:
        loss: Mean cross entropy over the held-out rows.
        step: Optimiser step of the weights.
        checkpoint: The newest one before this step, if there is one.

    Raises:
        TrainingError: the loss is not finite.
    """
    if not math.isfinite(loss):
        saved = f". The last checkpoint, {checkpoint}, is older" if checkpoint else ""
        raise TrainingError(f"step {step}: the loss on the held-out rows is {loss}. {_ADVICE}{saved}")


_ADVICE = "Lower training.learning_rate, raise training.warmup_fraction, or look at the data of these steps"


def _reason(loss: float, grad_norm: float, state: TrainingState, training: TrainingSection) -> str | None:
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(grad_norm):
        return f"the gradient's norm is {grad_norm}"
    if training.max_loss_spike is not None and len(state.recent_losses) >= MIN_LOSSES_FOR_SPIKE:
        usual = median(state.recent_losses)
        if loss > training.max_loss_spike * usual:
            return f"the loss {loss:.4g} is over {training.max_loss_spike:g} times the usual {usual:.4g}"
    return None


def count_step(state: TrainingState, loss: float, *, skipped: bool) -> None:
    """Note in `state` whether a step was skipped, and the loss of a good one."""
    if skipped:
        state.skipped_in_a_row += 1
        return
    state.skipped_in_a_row = 0
    state.recent_losses = [*state.recent_losses, loss][-SPIKE_WINDOW:]
