"""What counts as a number, and which fields are numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.evaluation.fields import field_kinds, read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("290.0", 290.0), (" 1,290.50 ", 1290.5), ("-3", -3.0), ("1e3", 1000.0), ("0", 0.0), ("80000350", 80000350.0)],
)
def test_plain_numbers_are_read(text: str, number: float) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize("text", ["", "N.A.", "12 EUR", "1,2", "nan", "inf", "1.2.3", "0x10", "٣"])
def test_anything_else_is_no_number(text: str) -> None:
    assert read_number(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(value: float) -> None:
    assert read_number(str(value)) == value


def test_kinds_are_told_by_the_values_and_categories_by_the_recipe() -> None:
    rows = [{"title": f"Coat {n}", "code": str(n % 3), "price": f"{n}.50"} for n in range(40)]
    assert field_kinds(rows, ["code"]) == {"title": "text", "code": "category", "price": "number"}


def test_rows_without_a_value_say_nothing_about_the_kind() -> None:
    rows = [{"price": "9.5" if n < 5 else "", "note": ""} for n in range(20)]
    assert field_kinds(rows, []) == {"price": "number", "note": "text"}


@pytest.mark.parametrize(("missing", "kind"), [(1, "number"), (2, "text")])
def test_a_number_may_be_missing_in_one_row_of_twenty(missing: int, kind: str) -> None:
    rows = [{"price": "N.A." if n < missing else "9.5"} for n in range(20)]
    assert field_kinds(rows, []) == {"price": kind}
