"""What kind of thing a field of the answer is, and reading numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

Kind = Literal["category", "number", "text"]

NUMBER_SHARE = 0.95
"""A field is a number when at least this share of its values in the training rows reads as one."""

_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


def read_number(text: str) -> float | None:
    """The number that `text` is: digits with an optional sign, thousands commas, decimal point and exponent."""
    text = text.strip()
    return float(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def field_kinds(rows: Sequence[Mapping[str, str]], categories: Iterable[str]) -> dict[str, Kind]:
    """Tell the kind of every field.

    Args:
        rows: The answer fields of the training rows, each with the same fields; empty where a row has no value.
        categories: Fields that the recipe calls categories.

    Returns:
        For each field `category` if the recipe says so, `number` if at least NUMBER_SHARE of its values are numbers,
        else `text`.
    """
    kinds: dict[str, Kind] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows if row[name]]
        numbers = sum(read_number(value) is not None for value in values)
        if name in categories:
            kinds[name] = "category"
        else:
            kinds[name] = "number" if values and numbers >= NUMBER_SHARE * len(values) else "text"
    return kinds
