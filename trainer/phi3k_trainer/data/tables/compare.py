"""How close two tables are, column by column."""

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from phi3k_trainer.data.tables.columns import Column, Kind, read_columns
from phi3k_trainer.data.tables.distances import by_rank, kolmogorov_smirnov, total_variation


@dataclass(frozen=True)
class ColumnComparison:
    """One column in both tables. What doesn't apply is None."""

    name: str
    kind: Kind | None
    """What the first table's column is; None when only the second table has it."""
    types: tuple[str | None, str | None]
    missing_rates: tuple[float | None, float | None]
    distinct: tuple[int | None, int | None]
    measure: str
    """What `distance` measures."""
    distance: float
    """From 0 (alike) to 1."""
    closeness: float
    """From 0 to 1: (1 - distance) * (1 - difference of the missing rates), and 0 when the kinds differ."""


@dataclass(frozen=True)
class Comparison:
    """Two tables side by side."""

    tables: tuple[str, str]
    rows: tuple[int, int]
    columns: tuple[ColumnComparison, ...]
    closeness: float
    """Mean closeness of all columns that either table has."""

    def as_dict(self) -> dict[str, object]:
        """The comparison as plain values for JSON."""
        return asdict(self)


HEADINGS = ("Column", "Kind", "Missing", "Distinct", "Measure", "Distance", "Closeness")


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The comparison as text cells under `HEADINGS`."""
    return [
        (
            column.name,
            column.kind or "absent",
            " / ".join("–" if rate is None else f"{rate:.1%}" for rate in column.missing_rates),
            " / ".join("–" if count is None else f"{count:,}" for count in column.distinct),
            column.measure,
            f"{column.distance:.3f}",
            f"{column.closeness:.3f}",
        )
        for column in comparison.columns
    ]


def compare_tables(one: Path, other: Path) -> Comparison:
    """Compares types, missing rates, cardinalities and distributions of two tables.

    Raises:
        MissingInputError: one of them is not there.
        DataError: one of them is not a table, or has no rows.
    """
    first, second = read_columns(one), read_columns(other)
    names = list(first) + [name for name in second if name not in first]
    columns = tuple(_compare(name, first.get(name), second.get(name)) for name in names)
    rows = (_row_count(first), _row_count(second))
    return Comparison((str(one), str(other)), rows, columns, sum(c.closeness for c in columns) / len(columns))


def _row_count(columns: dict[str, Column]) -> int:
    return len(next(iter(columns.values())).values)


def _compare(name: str, one: Column | None, other: Column | None) -> ColumnComparison:
    measure, distance = _distance(one, other)
    closeness = 0.0
    if one is not None and other is not None and one.kind == other.kind:
        closeness = (1 - distance) * (1 - abs(one.missing_rate - other.missing_rate))
    return ColumnComparison(
        name=name,
        kind=one.kind if one else None,
        types=(one.type if one else None, other.type if other else None),
        missing_rates=(one.missing_rate if one else None, other.missing_rate if other else None),
        distinct=(len(one.counts) if one else None, len(other.counts) if other else None),
        measure=measure,
        distance=distance,
        closeness=closeness,
    )


def _distance(one: Column | None, other: Column | None) -> tuple[str, float]:
    if one is None or other is None:
        return "column in one table only", 1.0
    if one.kind != other.kind:
        return f"{one.kind} in one, {other.kind} in the other", 1.0
    if one.kind == "number":
        return "Kolmogorov-Smirnov", kolmogorov_smirnov(one.numbers, other.numbers)
    if one.kind == "category":
        counts = cast(tuple[dict[Hashable, int], dict[Hashable, int]], (one.counts, other.counts))
        if one.counts.keys().isdisjoint(other.counts):
            return "total variation by rank, no name in common", total_variation(*map(by_rank, counts))
        return "total variation", total_variation(*counts)
    if one.kind == "text":
        return "Kolmogorov-Smirnov of lengths", kolmogorov_smirnov(one.lengths, other.lengths)
    return "share of different values", abs(_distinct_share(one) - _distinct_share(other))


def _distinct_share(column: Column) -> float:
    return len(column.counts) / max(len(column.present), 1)
