"""The blind control shows every row another row's pictures."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.evaluation.blind import shuffled_pictures

rows_of_pictures = st.lists(st.lists(st.integers(0, 5), max_size=2), max_size=30)


@given(rows_of_pictures, st.integers(0, 9))
def test_every_rows_pictures_are_used_once_and_their_number_stays(pictures: list[list[int]], seed: int) -> None:
    choice = shuffled_pictures(pictures, seed)
    assert sorted(choice) == list(range(len(pictures)))
    assert all(len(pictures[other]) == len(pictures[row]) for row, other in enumerate(choice))


@given(rows_of_pictures, st.integers(0, 9))
def test_no_row_sees_its_own_pictures_unless_they_are_in_most_rows(pictures: list[list[int]], seed: int) -> None:
    choice = shuffled_pictures(pictures, seed)
    for count in {len(shown) for shown in pictures} - {0}:
        alike = Counter(tuple(shown) for shown in pictures if len(shown) == count)
        if max(alike.values()) <= alike.total() / 2:
            assert all(pictures[choice[row]] != shown for row, shown in enumerate(pictures) if len(shown) == count)


def test_the_seed_decides() -> None:
    pictures = [[number] for number in range(50)]
    assert shuffled_pictures(pictures, 1) == shuffled_pictures(pictures, 1) != shuffled_pictures(pictures, 2)
