"""How many crops and tokens a picture takes, known from its width and height alone."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.grid import hd_shape, image_tokens

sides = st.integers(1, 5000)
crops = st.integers(1, 64)


@given(sides, sides, crops)
def test_the_grid_never_has_more_crops_than_allowed(width: int, height: int, num_crops: int) -> None:
    try:
        rows, columns = hd_shape(width, height, num_crops)
    except ImageError as error:
        assert error.reason == "too_thin"  # noqa: PT017
        assert max(width, height) > 336 * min(width, height)
    else:
        assert rows >= 1
        assert columns >= 1
        assert rows * columns <= num_crops


@given(sides, sides, crops)
def test_a_turned_picture_has_the_turned_grid(width: int, height: int, num_crops: int) -> None:
    def shape(one: int, other: int) -> tuple[int, ...]:
        try:
            return hd_shape(one, other, num_crops)
        except ImageError:
            return ()

    assert shape(width, height) == shape(height, width)[::-1]


@given(sides, crops)
def test_a_square_picture_has_the_largest_square_grid(side: int, num_crops: int) -> None:
    rows, columns = hd_shape(side, side, num_crops)
    assert rows == columns
    assert (rows + 1) ** 2 > num_crops


@given(sides, sides, crops)
def test_only_the_ratio_of_the_sides_counts(width: int, height: int, num_crops: int) -> None:
    try:
        assert hd_shape(2 * width, 2 * height, num_crops) == hd_shape(width, height, num_crops)
    except ImageError as error:
        assert error.reason == "too_thin"  # noqa: PT017


@pytest.mark.parametrize(("width", "height"), [(10_000, 5), (5, 10_000), (337, 1)])
def test_a_picture_too_thin_to_resize_is_refused_with_its_size(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=f"{max(width, height)} and {min(width, height)} pixels") as caught:
        hd_shape(width, height, 1)
    assert caught.value.reason == "too_thin"


def test_more_crops_leave_something_of_a_thin_picture() -> None:
    assert hd_shape(10_000, 5, 16) == (1, 16)


@pytest.mark.parametrize(("num_crops", "tokens"), [(1, 313), (4, 757), (16, 2509)])
def test_a_square_picture_takes_the_published_number_of_tokens(num_crops: int, tokens: int) -> None:
    assert image_tokens(*hd_shape(1000, 1000, num_crops), tokens_per_crop=144) == tokens


def test_the_tiny_model_takes_36_tokens_a_crop() -> None:
    assert image_tokens(1, 1, tokens_per_crop=36) == 36 + 36 + 1 + 2 * 6


def test_the_arithmetic_imports_nothing_heavy() -> None:
    program = "import sys, phi3k_trainer.images.grid; print({'torch', 'numpy', 'PIL'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
