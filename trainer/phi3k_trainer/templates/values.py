"""One value of a row under one format: its exact text, or a refusal. Never a guess, never without end."""

import math
import re
from datetime import date, time
from decimal import Decimal, InvalidOperation
from numbers import Integral, Real

# [[fill]align][sign][#][0][width][grouping][.precision][type], width and precision short enough to be meant
FORMAT_SPEC = re.compile(
    r"(?:[^{}]?[<>=^])?[-+ ]?#?(?P<zeros>0?)\d{0,3}(?P<grouping>[,_]?)"
    r"(?:\.(?P<precision>\d{1,2}))?(?P<type>[sdeEfFgG%]?)"
)
"""The formats that a template may use, as Python's format mini-language has them."""

NUMBER_TYPES = ("d", "e", "E", "f", "F", "g", "G")
"""The types at the end of a format that write a number, and nothing beside it."""

MAX_DIGITS = 400
"""A number with more digits before or after its point is refused; the largest double has 309."""

_FIXED_POINT = frozenset("fF%")
_SHOWN_CHARACTERS = 100
_DOUBLE_DIGITS = 15  # decimal digits that every double keeps (DBL_DIG)


class FormatError(ValueError):
    """A format doesn't take a value; the message continues a sentence that names the column."""


def format_value(value: object, spec: str) -> str | None:
    """The text of `value` under the format `spec`; None where there is no value (None, NaN).

    Text is read as a number where the format is one, for CSV has nothing else. Integers, decimals and text are rounded
    from their exact value, half to even; a float from the exact value of its bits, as Python does it. Dates, times and
    truth values are formatted as their text.

    Raises:
        FormatError: the format doesn't take the value, or the number is infinite or has over `MAX_DIGITS` digits.
    """
    if value is None:
        return None
    if not isinstance(value, str | Real | Decimal | date | time):
        raise FormatError(f"holds a {type(value).__name__}, not text or a number")
    parsed = FORMAT_SPEC.fullmatch(spec)
    assert parsed is not None, "templates hold formats of FORMAT_SPEC only"
    try:
        return _formatted(value, spec, parsed)
    except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
        because = f": {error}" if isinstance(error, FormatError) else ""
        raise FormatError(f"has {_shown(value)}, which the format '{spec}' doesn't take{because}") from error


def _formatted(value: str | Real | Decimal | date | time, spec: str, parsed: re.Match[str]) -> str | None:
    kind = parsed["type"]
    if isinstance(value, str | date | time | bool) and kind in ("", "s"):
        if parsed["zeros"]:
            raise FormatError("leading zeros are for numbers: end the format with the number's type, such as 'd'")
        return format(str(value), spec)
    if isinstance(value, date | time):
        raise FormatError("a date is not a number")
    number = _number(value)
    if number is None:
        return None
    if not kind:
        return format(value, spec)
    if isinstance(number, Decimal) and abs(number.adjusted()) > MAX_DIGITS:
        raise FormatError(f"it has more than {MAX_DIGITS} digits")
    if kind == "d":
        return format(_integer(number), spec)
    if isinstance(number, float):
        return format(number, spec)
    # Python's Decimal has no grouping by underscores.
    if kind in _FIXED_POINT and parsed["grouping"] != "_":
        return format(Decimal(number), spec)
    every_digit = kind in _FIXED_POINT or int(parsed["precision"] or 6) > _DOUBLE_DIGITS
    return format(_double(number, every_digit=every_digit), spec)


def _number(value: str | Real | Decimal) -> int | float | Decimal | None:
    """The finite number that `value` is or, of text, stands for; None for a NaN that isn't text."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, str) and len(value) > MAX_DIGITS + _SHOWN_CHARACTERS:
        raise FormatError(f"a text of {len(value):,} characters is not a number")
    number = Decimal(value) if isinstance(value, str | Decimal) else float(value)
    nan, finite = (
        (number.is_nan(), number.is_finite())
        if isinstance(number, Decimal)
        else (math.isnan(number), math.isfinite(number))
    )
    if nan and not isinstance(value, str):
        return None
    if not finite:
        raise FormatError("it is not a finite number")
    return number


def _integer(number: int | float | Decimal) -> int:
    if isinstance(number, int):
        return number
    exact = Decimal(str(number))
    if exact != exact.to_integral_value():
        raise FormatError("it is not an integer")
    return int(exact)


def _double(number: int | Decimal, *, every_digit: bool) -> float:
    """The double for `number`, if it holds every digit of it, or at least the first `_DOUBLE_DIGITS`."""
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if math.isfinite(double) and Decimal(repr(double)) == number:
        return double
    if not math.isfinite(double) or double == 0 or every_digit:
        raise FormatError("it has more digits than a double-precision number keeps")
    return double


def _shown(value: object) -> str:
    """The value for a message, of bounded length."""
    if isinstance(value, int) and value.bit_length() > 4 * _SHOWN_CHARACTERS:
        return f"an integer of {value.bit_length():,} bits"
    text = repr(value[: 2 * _SHOWN_CHARACTERS] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
