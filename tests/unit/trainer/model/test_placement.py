"""Features of pictures go where their tags stand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import DataError
from phi3k_trainer.model.placement import crop_grids, image_positions


@st.composite
def rows_with_pictures(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Rows of ids of one length, in which pictures stand in any order, and the tokens of each picture."""
    rows, tokens = [], []
    for _ in range(draw(st.integers(1, 3))):
        counts = draw(st.lists(st.integers(1, 4), max_size=3))
        tokens += counts
        row: list[int] = []
        for number in draw(st.permutations(range(1, len(counts) + 1))):
            row += [5] * draw(st.integers(0, 2)) + [-number] * counts[number - 1]
        rows.append(row)
    length = max(map(len, rows)) + 1
    return [row + [7] * (length - len(row)) for row in rows], tokens


@given(rows_with_pictures())
def test_feature_k_of_picture_i_lands_on_the_kth_placeholder_of_i_in_its_row(
    case: tuple[list[list[int]], list[int]],
) -> None:
    rows, tokens = case
    places = zip(*(part.tolist() for part in image_positions(torch.tensor(rows), tokens)), strict=True)
    expected = [
        (row, column)
        for row, ids in enumerate(rows)
        for number in range(1, -min(0, *ids) + 1)
        for column, token in enumerate(ids)
        if token == -number
    ]
    assert list(places) == expected


@pytest.mark.parametrize(
    ("rows", "tokens"),
    [
        ([[5, -1, -1]], []),
        ([[5, 6]], [2]),
        ([[-1, -1, 5]], [3]),
        ([[-2, -2]], [2]),
        ([[-1, -2, -2]], [2, 1]),
        ([[-1, 5], [6, 7]], [1, 1]),
    ],
    ids=["no picture", "no place", "too few places", "first picture absent", "swapped sizes", "one picture too many"],
)
def test_pictures_and_places_that_do_not_match_are_an_error(rows: list[list[int]], tokens: list[int]) -> None:
    with pytest.raises(DataError, match="each picture needs its tag"):
        image_positions(torch.tensor(rows), tokens)


def test_image_sizes_become_grids_of_crops() -> None:
    assert crop_grids(torch.tensor([[336, 1008], [672, 336]]), 336) == [(1, 3), (2, 1)]


@pytest.mark.parametrize("size", [[336, 500], [0, 336]])
def test_image_sizes_that_are_no_whole_crops_are_an_error(size: list[int]) -> None:
    with pytest.raises(DataError, match="not a multiple of 336"):
        crop_grids(torch.tensor([size]), 336)
