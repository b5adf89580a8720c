"""A value under a format is its exact text, or it is refused: never wrong, never without end."""

import math
import time
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.errors import DataError
from phi3k_trainer.templates.text import MAX_CHARACTERS, MissingValueError, Template
from phi3k_trainer.templates.values import FORMAT_SPEC, FormatError, format_value

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(),
    st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,9})?", fullmatch=True),
)
specs = st.from_regex(FORMAT_SPEC, fullmatch=True)


@pytest.mark.parametrize("spec", ["d", ".2f", ".3e", "g", ".1%", ",.0f", "_d"])
@pytest.mark.parametrize(
    "value",
    ["1e9999999", "-1e9999999", "1e-9999999", Decimal("1e9999999"), Decimal("9e999999"), "9" * 10_000_000],
    ids=["1e9999999", "-1e9999999", "1e-9999999", "Decimal 1e9999999", "Decimal 9e999999", "nines"],
)
def test_a_number_of_endless_digits_is_refused_at_once(value: object, spec: str) -> None:
    started = time.process_time()
    with pytest.raises(FormatError, match=r"digits|not an integer|not a number"):
        format_value(value, spec)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("value", ["1e999", "inf", "-Infinity", "nan", "sNaN", math.inf, Decimal("-inf")])
def test_what_is_not_finite_never_becomes_an_answer(value: object) -> None:
    with pytest.raises(DataError):
        Template("{p:.2e}").render({"p": value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float32("inf"), Decimal("inf")])
def test_an_infinite_number_is_refused_without_a_format_too(value: object) -> None:
    with pytest.raises(DataError, match="not a finite number"):
        Template("{p}").render({"p": value})


@pytest.mark.parametrize("value", [np.float32("nan"), np.float16("nan"), Decimal("sNaN"), Decimal("-nan")])
def test_no_number_of_any_width_is_a_missing_value(value: object) -> None:
    with pytest.raises(MissingValueError):
        Template("{p}").render({"p": value})


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (".2f", "12345678901234567890.12", "12345678901234567890.12"),
        (".2f", 12345678901234567890, "12345678901234567890.00"),
        (".2f", np.int64(9007199254740993), "9007199254740993.00"),
        (".2f", Decimal("2.675"), "2.68"),
        (".2f", "2.675", "2.68"),
        (".2f", 2.675, "2.67"),  # the double is a little less
        (".0%", "123456789012345678", "12345678901234567800%"),
        ("_.1f", "1234567.25", "1_234_567.2"),
        (".2e", "1234", "1.23e+03"),
        ("g", "1e3", "1000"),
        (">12", date(2026, 1, 2), "  2026-01-02"),
        ("*^14", date(2026, 1, 2), "**2026-01-02**"),
        (">20", datetime(2026, 1, 2, 3, 4, 5), " 2026-01-02 03:04:05"),
        (">6", True, "  True"),
    ],
)
def test_the_text_is_that_of_the_exact_value(spec: str, value: object, text: str) -> None:
    assert format_value(value, spec) == text


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("05", "42"),  # Python would make 42000 of it
        ("d", date(2026, 1, 2)),
        (".2f", datetime(2026, 1, 2)),
        ("_.1f", "123456789012345678901"),
        (".20e", "0.12345678901234567890123"),
        pytest.param("", 10**5000, id="huge"),
        ("d", "ten"),
    ],
)
def test_what_has_no_exact_text_is_refused(spec: str, value: object) -> None:
    with pytest.raises(FormatError, match="format"):
        format_value(value, spec)


@pytest.mark.parametrize("value", ["x" * 10_000_000, 10**5000, Decimal("1" * 5000)], ids=["text", "integer", "decimal"])
def test_a_refusal_is_short_whatever_the_value(value: object) -> None:
    with pytest.raises(DataError) as caught:
        Template("{p:.1e}" if isinstance(value, str) else "{p:.99d}").render({"p": value})
    assert len(str(caught.value)) < 400


def test_a_text_beyond_every_context_is_refused() -> None:
    with pytest.raises(DataError, match=f"more than {MAX_CHARACTERS:,}"):
        Template("{a} {b}").render({"a": "x" * MAX_CHARACTERS, "b": "y"})


@settings(deadline=1000)
@given(numbers, specs)
def test_any_number_in_any_format_is_short_text_or_refused(value: object, spec: str) -> None:
    try:
        text = format_value(value, spec)
    except FormatError:
        return
    assert text is None or len(text) < 5000


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40), st.integers(0, 30))
def test_fixed_point_text_is_the_number_rounded_once(value: Decimal, places: int) -> None:
    exact = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, Context(prec=200))
    assert Decimal(str(format_value(str(value), f".{places}f"))) == exact
