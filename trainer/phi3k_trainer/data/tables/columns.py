"""Reads a table and finds the kind of each column: used by `--like`, `compare` and `report`."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet

from phi3k_trainer.data.tables.table import TABLE_NAME
from phi3k_trainer.errors import DataError, MissingInputError

IMAGE_WORDS = ("image", "picture", "photo", "img")


Kind = Literal["number", "category", "text", "address", "identifier", "other"]
Value = str | int | float | bool

MISSING_WORDS = frozenset({"", "N.A.", "NA", "N/A", "NAN", "NULL", "NONE", "-"})
"""Text that shops write where there is no value (compared in upper case)."""
MOST_CATEGORIES = 200
LEAST_ROWS_A_CATEGORY = 20
"""A text column is a category when it has at most one different value for this many rows."""
MOST_INTEGER_CATEGORIES = 12


@dataclass(frozen=True)
class Column:
    """A column with its kind; values of unknown structure (lists, bytes, dates) are of the kind `other`."""

    name: str
    type: str
    kind: Kind
    values: tuple[Value | None, ...]
    """As they stand in the table; what is missing is None or one of the missing words."""

    @cached_property
    def present(self) -> list[Value]:
        """The values that are there."""
        return [value for value in self.values if value is not None and not is_missing(value)]

    @property
    def missing_rate(self) -> float:
        """Share of rows without a value."""
        return 1 - len(self.present) / len(self.values) if self.values else 0.0

    @cached_property
    def counts(self) -> Counter[Value]:
        """How often each value occurs."""
        return Counter(self.present)

    @property
    def numbers(self) -> list[float]:
        """The values of a numeric column."""
        return [float(value) for value in self.present]

    @property
    def lengths(self) -> list[float]:
        """Characters of each value."""
        return [float(len(str(value))) for value in self.present]


def is_missing(value: object) -> bool:
    """Whether a value means that there is none."""
    if isinstance(value, str):
        return value.strip().upper() in MISSING_WORDS
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def read_columns(path: Path) -> dict[str, Column]:
    """The columns of a Parquet, CSV or JSON Lines file, or of a directory with Parquet files.

    Raises:
        MissingInputError: nothing is there.
        DataError: it is not a table, or has no rows.
    """
    table = read_table(path)
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows")
    return {name: _column(name, table.column(name)) for name in table.column_names}


def read_table(path: Path) -> pa.Table:
    """The table at `path` as `read_columns` takes it, with its types."""
    if path.is_dir() and (path / TABLE_NAME).is_file():
        path = path / TABLE_NAME
    if not path.exists():
        raise MissingInputError(f"{path}: no such file or directory")
    try:
        if path.is_dir():
            return pa.dataset.dataset(sorted(path.rglob("*.parquet"))).to_table()
        if path.suffix == ".csv":
            return pa.csv.read_csv(path)
        if path.suffix in {".jsonl", ".ndjson", ".json"}:
            return pa.json.read_json(path)
        return pa.parquet.read_table(path)
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"{path} is not a table (Parquet, CSV or JSON Lines): {error}") from error


def _column(name: str, data: pa.ChunkedArray) -> Column:
    simple = pa.types.is_integer(data.type) or pa.types.is_floating(data.type) or pa.types.is_boolean(data.type)
    is_text = pa.types.is_string(data.type) or pa.types.is_large_string(data.type)
    if not simple and not is_text:
        return Column(name, str(data.type), "other", tuple("value" if item.is_valid else None for item in data))
    values = tuple(data.to_pylist())
    present = [value for value in values if not is_missing(value)]
    return Column(name, str(data.type), _text_kind(present) if is_text else _number_kind(present), values)


def _text_kind(present: list[str]) -> Kind:
    distinct = len(set(present))
    addresses = sum(" " not in value and ("://" in value or "/" in value.strip("/")) for value in present)
    if present and addresses >= 0.9 * len(present):
        return "address"
    allowed = max(2, min(MOST_CATEGORIES, len(present) // LEAST_ROWS_A_CATEGORY))
    return "category" if distinct <= allowed else "text"


def _number_kind(present: list[int | float]) -> Kind:
    distinct = len(set(present))
    if any(isinstance(value, float) for value in present):
        return "number"
    if distinct <= min(MOST_INTEGER_CATEGORIES, max(2, len(present) // LEAST_ROWS_A_CATEGORY)):
        return "category"
    return "identifier" if distinct == len(present) else "number"


def is_image(name: str, kind: str) -> bool:
    """Whether a column holds the places of pictures, by its name."""
    return kind in {"address", "text"} and any(word in name.lower() for word in IMAGE_WORDS)
