"""Durations end where Kubernetes can't count them, and the recipe says so before anything is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.durations import LONGEST_SECONDS, SECONDS, seconds
from phi3k_trainer.recipe.ready import ready_recipe


@pytest.mark.parametrize("field", ["keep_finished", "deadline", "grace"])
@pytest.mark.parametrize("duration", ["24856d", "596524h", "35791395m", "2147483648s", "99999999999999999999d"])
def test_a_duration_of_more_than_68_years_is_refused(field: str, duration: str) -> None:
    with pytest.raises(RecipeError, match=f"cluster.{field}: should be at most 24855d"):
        load_recipe(ready_recipe("demo"), [f"cluster.{field}={duration}"])


@pytest.mark.parametrize("duration", ["24855d", "596523h", "35791394m", "2147483647s"])
def test_the_longest_duration_of_each_unit_is_taken(duration: str) -> None:
    assert load_recipe(ready_recipe("demo"), [f"cluster.keep_finished={duration}"]).cluster.keep_finished == duration


@given(st.integers(1, LONGEST_SECONDS), st.sampled_from(sorted(SECONDS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert seconds(f"{number}{unit}") == number * SECONDS[unit]


@pytest.mark.parametrize(
    "override",
    ["retries=2147483648", "gpus=100001", "nodes=100001", "tolerations=[{key: a, toleration_seconds: 2147483648}]"],
)
def test_counts_that_kubernetes_keeps_in_an_int32_are_bounded(override: str) -> None:
    with pytest.raises(RecipeError, match="less than or equal to"):
        load_recipe(ready_recipe("demo"), [f"cluster.{override}"])
