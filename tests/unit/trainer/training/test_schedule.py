import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.training.schedule import learning_rate_factor


def course(schedule: str, total: int = 20, warmup: float = 0.25, minimum: float = 0.1) -> list[float]:
    return [
        learning_rate_factor(
            step,
            total,
            schedule=schedule,
            warmup_fraction=warmup,
            min_fraction=minimum,  # type: ignore[arg-type]
        )
        for step in range(total)
    ]


def test_the_warm_up_rises_by_equal_parts_to_the_peak() -> None:
    assert course("cosine")[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_linear_falls_by_equal_parts_and_would_reach_its_minimum_one_step_after_the_last() -> None:
    falling = course("linear")[4:]
    assert [before - after for before, after in itertools.pairwise(falling)] == pytest.approx([0.9 / 16] * 15)
    assert falling[-1] - 0.9 / 16 == pytest.approx(0.1)


def test_cosine_is_half_way_down_half_way_through() -> None:
    assert course("cosine", total=19, warmup=0.0)[9] == pytest.approx(0.55)
    assert course("cosine", total=19, warmup=0.0)[4] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)


def test_constant_stays_at_the_peak() -> None:
    assert course("constant")[4:] == [1.0] * 16


@given(st.sampled_from(["cosine", "linear", "constant"]), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_no_step_is_without_learning(schedule: str, total: int, warmup: float, minimum: float) -> None:
    assert all(0 < factor <= 1 for factor in course(schedule, total, warmup, minimum))
