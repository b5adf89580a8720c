"""The split: by keys and pictures, never by position."""

import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.data.splits import split_of

Row = tuple[str, tuple[str, ...]]

rows_of = st.lists(
    st.tuples(
        st.integers(0, 30).map(lambda number: f"key-{number}"),
        st.lists(st.integers(0, 40).map(lambda number: f"sha-{number}"), max_size=3).map(tuple),
    ),
    max_size=40,
)
fractions = st.sampled_from([0.1, 0.3, 0.5, 0.9])


@settings(deadline=None)
@given(rows_of, fractions, st.randoms())
def test_the_order_of_the_rows_says_nothing(rows: list[Row], fraction: float, random: object) -> None:
    sides = dict(zip(rows, split_of(rows, fraction), strict=True))
    shuffled = sorted(rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert dict(zip(shuffled, split_of(shuffled, fraction), strict=True)) == sides


@settings(deadline=None)
@given(rows_of, fractions)
def test_a_picture_is_never_on_both_sides(rows: list[Row], fraction: float) -> None:
    sides: dict[str, set[str]] = {}
    for (_, pictures), side in zip(rows, split_of(rows, fraction), strict=True):
        for picture in pictures:
            sides.setdefault(picture, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


@settings(deadline=None)
@given(rows_of, fractions)
def test_a_key_is_never_on_both_sides(rows: list[Row], fraction: float) -> None:
    sides: dict[str, set[str]] = {}
    for (key, _), side in zip(rows, split_of(rows, fraction), strict=True):
        sides.setdefault(key, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


@settings(deadline=None)
@given(rows_of, rows_of, fractions)
def test_new_rows_leave_the_others_where_they_are_unless_they_share_something(
    rows: list[Row], more: list[Row], fraction: float
) -> None:
    strangers = [(f"new-{key}", tuple(f"new-{picture}" for picture in pictures)) for key, pictures in more]
    assert split_of([*rows, *strangers], fraction)[: len(rows)] == split_of(rows, fraction)


def test_rows_are_joined_through_rows_in_between() -> None:
    chain = [(f"row-{number}", (f"sha-{number}", f"sha-{number + 1}")) for number in range(200)]
    assert len(set(split_of(chain, 0.5))) == 1


def group_of(number: int, size: int, shares: str) -> list[Row]:
    """Rows that have one picture, one key, or a picture each with the next row in common."""
    match shares:
        case "picture":
            return [(f"{number}-{row}", (f"sha-{number}",)) for row in range(size)]
        case "key":
            return [(f"{number}", (f"sha-{number}-{row}",)) for row in range(size)]
        case _:
            return [(f"{number}-{row}", (f"sha-{number}-{row}", f"sha-{number}-{row + 1}")) for row in range(size)]


@pytest.mark.parametrize("shares", ["picture", "key", "chain"])
@pytest.mark.parametrize(
    ("size", "groups", "fraction"), [(1, 5000, 0.1), (2, 2500, 0.5), (10, 1000, 0.1), (200, 100, 0.3), (2000, 20, 0.1)]
)
def test_the_chance_to_be_held_out_does_not_depend_on_how_many_rows_share_something(
    shares: str, size: int, groups: int, fraction: float
) -> None:
    rows = [row for number in range(groups) for row in group_of(number, size, shares)]
    held_out = split_of(rows, fraction).count("evaluation") / size
    assert abs(held_out - groups * fraction) < 4 * math.sqrt(groups * fraction * (1 - fraction))


@settings(deadline=None)
@given(rows_of, fractions)
def test_a_row_that_shares_nothing_goes_by_the_hash_of_its_key_alone(rows: list[Row], fraction: float) -> None:
    own = [(f"{index}-{key}", tuple(f"{index}-{picture}" for picture in row)) for index, (key, row) in enumerate(rows)]
    first_bytes = (hashlib.sha256(f"split:{key}".encode()).digest()[:8] for key, _ in own)
    expected = ["evaluation" if int.from_bytes(each, "big") / 2**64 < fraction else "train" for each in first_bytes]
    assert split_of(own, fraction) == expected


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 30), fractions)
def test_more_rows_about_a_picture_leave_its_rows_where_they_are(
    number: int, size: int, more: int, fraction: float
) -> None:
    rows = group_of(number, size + more, "picture")
    assert split_of(rows, fraction)[:size] == split_of(rows[:size], fraction)


def test_fraction_zero_holds_nothing_out() -> None:
    assert set(split_of([(str(number), ()) for number in range(100)], 0.0)) == {"train"}
