"""The best time between two saves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.planning import best_interval, wasted_fraction


def test_short_saves_approach_youngs_formula() -> None:
    assert best_interval(1.0, 1e8) == pytest.approx(math.sqrt(2 * 1.0 * 1e8), rel=1e-3)


def test_a_machine_that_fails_during_most_saves_saves_as_often_as_it_fails() -> None:
    assert best_interval(100.0, 10.0) == 10.0


@given(save=st.floats(0.1, 300), factor=st.floats(0.3, 3))
def test_no_other_interval_wastes_noticeably_less(save: float, factor: float) -> None:
    between_failures = 24 * 3600.0
    best = best_interval(save, between_failures)
    other = wasted_fraction(best * factor, save, between_failures)
    assert wasted_fraction(best, save, between_failures) <= other * 1.01
