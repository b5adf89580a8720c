"""The split: by keys and pictures, never by position."""

from hypothesis import given
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


@given(rows_of, fractions, st.randoms())
def test_the_order_of_the_rows_says_nothing(rows: list[Row], fraction: float, random: object) -> None:
    sides = dict(zip(rows, split_of(rows, fraction), strict=True))
    shuffled = sorted(rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert dict(zip(shuffled, split_of(shuffled, fraction), strict=True)) == sides


@given(rows_of, fractions)
def test_a_picture_is_never_on_both_sides(rows: list[Row], fraction: float) -> None:
    sides: dict[str, set[str]] = {}
    for (_, pictures), side in zip(rows, split_of(rows, fraction), strict=True):
        for picture in pictures:
            sides.setdefault(picture, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


@given(rows_of, fractions)
def test_a_key_is_never_on_both_sides(rows: list[Row], fraction: float) -> None:
    sides: dict[str, set[str]] = {}
    for (key, _), side in zip(rows, split_of(rows, fraction), strict=True):
        sides.setdefault(key, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


@given(rows_of, rows_of, fractions)
def test_new_rows_leave_the_others_where_they_are_unless_they_share_something(
    rows: list[Row], more: list[Row], fraction: float
) -> None:
    strangers = [(f"new-{key}", tuple(f"new-{picture}" for picture in pictures)) for key, pictures in more]
    assert split_of([*rows, *strangers], fraction)[: len(rows)] == split_of(rows, fraction)


def test_rows_are_joined_through_rows_in_between() -> None:
    chain = [(f"row-{number}", (f"sha-{number}", f"sha-{number + 1}")) for number in range(200)]
    assert len(set(split_of(chain, 0.5))) == 1


def test_about_the_fraction_is_held_out() -> None:
    sides = split_of([(str(number), ()) for number in range(10_000)], 0.1)
    assert 900 < sides.count("evaluation") < 1100


def test_fraction_zero_holds_nothing_out() -> None:
    assert set(split_of([(str(number), ()) for number in range(100)], 0.0)) == {"train"}
