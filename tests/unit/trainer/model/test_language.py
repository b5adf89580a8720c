"""LongRoPE: which factors apply, and what the cosines are scaled by."""

import math

import pytest
import torch

from phi3k_trainer.model.language import LongRotaryEmbedding
from tests.unit.trainer.model.conftest import small_config

WINDOW = 16


@pytest.fixture
def rotary() -> LongRotaryEmbedding:
    return LongRotaryEmbedding(small_config(original_max_position_embeddings=WINDOW))


def cosines(rotary: LongRotaryEmbedding, positions: list[list[int]]) -> torch.Tensor:
    cos: torch.Tensor = rotary(torch.zeros(1), torch.tensor(positions))[0]
    return cos


def expected(position: int, factors: list[float]) -> torch.Tensor:
    scale = math.sqrt(1 + math.log(131072 / WINDOW) / math.log(WINDOW))
    angles = [position / (factor * 10000 ** (2 * index / 8)) for index, factor in enumerate(factors)]
    return torch.tensor([math.cos(angle) * scale for angle in angles * 2])


SHORT, LONG = [1.0, 1.1, 1.2, 1.3], [1.0, 2.0, 4.0, 8.0]


def test_short_factors_apply_to_the_last_position_of_the_original_window(rotary: LongRotaryEmbedding) -> None:
    torch.testing.assert_close(cosines(rotary, [[3, WINDOW - 1]])[0, 0], expected(3, SHORT))


def test_long_factors_apply_to_the_whole_batch_once_one_sequence_leaves_the_window(rotary: LongRotaryEmbedding) -> None:
    torch.testing.assert_close(cosines(rotary, [[3, 4], [3, WINDOW]])[0, 0], expected(3, LONG))


def test_a_packed_row_longer_than_the_window_keeps_its_samples_short_factors(
    rotary: LongRotaryEmbedding,
) -> None:
    packed = [*range(10), *range(10)]
    torch.testing.assert_close(cosines(rotary, [packed])[0, 13], expected(3, SHORT))


def test_long_factors_do_not_stay_after_a_long_sequence(rotary: LongRotaryEmbedding) -> None:
    cosines(rotary, [[WINDOW]])
    torch.testing.assert_close(cosines(rotary, [[3]])[0, 0], expected(3, SHORT))


def test_the_published_scale_is_1_1902() -> None:
    assert LongRotaryEmbedding(small_config()).scale == pytest.approx(1.1902, abs=5e-5)


def test_casting_the_model_to_bfloat16_leaves_the_frequencies_alone(rotary: LongRotaryEmbedding) -> None:
    before = cosines(rotary, [[15]])
    after = cosines(rotary.to(torch.bfloat16), [[15]])
    assert torch.equal(before, after)
