import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phi3k_trainer.data.order import plan_steps, sample_order

# What the very first version gave.
FIRST_ORDER = [0, 7, 2, 5, 4, 6, 3, 1]
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=80).map(lambda values: np.array(values, np.int64))


@given(st.integers(0, 2**31), st.integers(0, 50), st.integers(1, 300))
def test_an_epoch_has_every_sample_once(seed: int, epoch: int, num_samples: int) -> None:
    assert sorted(sample_order(seed, epoch, num_samples)) == list(range(num_samples))


def test_order_is_the_same_on_every_machine() -> None:
    # Written down once: a change of these numbers would change what resumed runs see.
    assert sample_order(0, 0, 8).tolist() == FIRST_ORDER
    assert sample_order(0, 1, 8).tolist() != FIRST_ORDER
    assert sample_order(1, 0, 8).tolist() != FIRST_ORDER


def test_order_has_no_preference() -> None:
    # Each of 6 samples comes first in about a sixth of 3,000 epochs; 5 standard deviations are 102.
    first = np.bincount([sample_order(0, epoch, 6)[0] for epoch in range(3000)], minlength=6)
    assert (np.abs(first - 500) < 102).all()


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 3), st.integers(0, 99))
def test_steps_take_the_samples_in_order_and_drop_none(
    lengths: NDArray[np.int64], tokens_per_step: int, epochs: int, seed: int
) -> None:
    plan = plan_steps(seed, lengths, tokens_per_step, epochs=epochs)
    taken = np.concatenate([plan.samples(step) for step in range(len(plan))])
    expected = np.concatenate([sample_order(seed, epoch, len(lengths)) for epoch in range(epochs)])
    assert taken.tolist() == expected.tolist()


@given(LENGTHS, st.integers(1, 2000))
def test_every_step_but_the_last_holds_just_enough_tokens(lengths: NDArray[np.int64], tokens_per_step: int) -> None:
    plan = plan_steps(0, lengths, tokens_per_step, epochs=2)
    for step in range(len(plan) - 1):
        tokens = lengths[plan.samples(step)]
        assert tokens.sum() >= tokens_per_step > tokens[:-1].sum()


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 10))
def test_max_steps_ends_the_same_plan_earlier(lengths: NDArray[np.int64], tokens_per_step: int, max_steps: int) -> None:
    whole = plan_steps(0, lengths, tokens_per_step, epochs=5)
    part = plan_steps(0, lengths, tokens_per_step, epochs=5, max_steps=max_steps)
    assert len(part) == min(len(whole), max_steps)
    for step in range(len(part)):
        assert part.samples(step).tolist() == whole.samples(step).tolist()


def test_half_an_epoch_takes_half_the_samples() -> None:
    plan = plan_steps(0, np.full(10, 100), 100, epochs=0.5)
    assert len(plan.order) == 5
