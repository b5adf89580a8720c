import math

import pytest

from phi3k_trainer.checkpoints.state import TrainingState
from phi3k_trainer.errors import TrainingError
from phi3k_trainer.recipe.training import TrainingSection
from phi3k_trainer.training.harmful_steps import check_evaluation, count_step, reason_to_skip


@pytest.mark.parametrize(("loss", "grad_norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_step_that_is_not_finite_is_skipped_or_stops_as_the_recipe_says(loss: float, grad_norm: float) -> None:
    assert reason_to_skip(loss, grad_norm, TrainingState(), TrainingSection()) is not None
    with pytest.raises(TrainingError, match=r"step 1: .*training.on_nonfinite"):
        reason_to_skip(loss, grad_norm, TrainingState(), TrainingSection(on_nonfinite="stop"))


def test_a_good_step_is_not_skipped() -> None:
    assert reason_to_skip(2.5, 1e6, TrainingState(), TrainingSection(max_loss_spike=1.1)) is None


def test_ten_skips_in_a_row_stop_the_run() -> None:
    state = TrainingState()
    for _ in range(9):
        assert reason_to_skip(math.nan, 1.0, state, TrainingSection()) is not None
        count_step(state, math.nan, skipped=True)
    with pytest.raises(TrainingError, match="10th step in a row"):
        reason_to_skip(math.nan, 1.0, state, TrainingSection())


def test_a_good_step_starts_the_count_anew() -> None:
    state = TrainingState(skipped_in_a_row=9)
    count_step(state, 1.0, skipped=False)
    assert reason_to_skip(math.nan, 1.0, state, TrainingSection()) is not None


def test_a_spike_is_measured_against_the_median_of_the_last_hundred_good_losses() -> None:
    state = TrainingState()
    for loss in [50.0] * 200 + [1.0] * 60:
        count_step(state, loss, skipped=False)
    spiky = TrainingSection(max_loss_spike=3.0)
    assert reason_to_skip(2.9, 1.0, state, spiky) is None
    assert "over 3 times the usual 1" in str(reason_to_skip(3.1, 1.0, state, spiky))
    assert reason_to_skip(3.1, 1.0, state, TrainingSection()) is None


def test_a_skipped_loss_is_no_yardstick() -> None:
    state = TrainingState(recent_losses=[1.0])
    count_step(state, math.nan, skipped=True)
    assert state.recent_losses == [1.0]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_an_evaluation_that_is_not_finite_gives_the_advice_of_training_and_the_last_good_checkpoint(
    loss: float,
) -> None:
    with pytest.raises(TrainingError, match=r"step 8: .*training.learning_rate.* runs/a/checkpoints/step-4, is older"):
        check_evaluation(loss, 8, "runs/a/checkpoints/step-4")


def test_a_finite_evaluation_is_accepted() -> None:
    check_evaluation(2.5, 8, None)
