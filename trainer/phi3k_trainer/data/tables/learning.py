"""What `--like` learns from a real table: frequencies, quantiles and lengths, never a row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from phi3k_trainer.data.tables.columns import Column, Value, is_missing
from phi3k_trainer.errors import DataError

FEWEST_ROWS = 5
"""A combination of categories in fewer real rows is not repeated: it might point at one product."""
KEPT_SHARE = 0.9
"""Columns join the common combinations as long as at least this share of the rows stays in frequent ones."""
FEWEST_FOR_QUANTILES = 30
"""A group with fewer rows uses the numbers of the whole table."""
TRIM = 0.01
"""Quantiles start and end here, so that no single highest or lowest value is given away."""
QUANTILE_POINTS = np.linspace(TRIM, 1 - TRIM, 50)
GRAINS = (1000.0, 100.0, 50.0, 10.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.01, 0.001)
MOST_RATIO_SPREAD = 20.0
RATIO_CORRELATION = 0.8

Group = tuple[Value | None, ...]


@dataclass(frozen=True)
class Quantiles:
    """A distribution as values at `QUANTILE_POINTS`."""

    values: NDArray[np.float64]

    def at(self, rank: float) -> float:
        """The value below which the share `rank` of the values lies."""
        return float(np.interp(rank, QUANTILE_POINTS, self.values))


@dataclass(frozen=True)
class NumberModel:
    """A numeric column: quantiles a group, of the values or of their ratio to the anchor column."""

    by_group: Mapping[Group, Quantiles]
    overall: Quantiles
    grain: float
    """Values are multiples of it: 10 for prices such as 1290."""
    is_ratio: bool

    def draw(self, group: Group, rank: float, anchor: float) -> float:
        """The value at `rank` within its group."""
        value = self.by_group.get(group, self.overall).at(rank) * (anchor if self.is_ratio else 1.0)
        return round(round(value / self.grain) * self.grain, 6)


@dataclass(frozen=True)
class Structure:
    """Everything that generation needs to know about a real table."""

    columns: tuple[tuple[str, str, str], ...]
    """Name, type and kind of each column, in order."""
    group_columns: tuple[str, ...]
    """Category columns drawn together, as they occur together."""
    groups: Mapping[Group, int]
    categories: Mapping[str, Mapping[Value, int]]
    """Frequencies of the category columns outside the groups."""
    anchor: str | None
    """The numeric column whose rank within its group decides how expensive a product looks."""
    numbers: Mapping[str, NumberModel]
    lengths: Mapping[str, Quantiles]
    """Characters of text and address columns."""
    missing: Mapping[str, tuple[float, Value | None]]
    """Missing rate of each column, and how it is written."""


def learn(columns: Mapping[str, Column]) -> Structure:
    """Learns the structure of a table.

    Raises:
        DataError: the table is too small to learn from without giving away its rows.
    """
    rows = len(next(iter(columns.values())).values)
    if rows < FEWEST_FOR_QUANTILES:
        raise DataError(f"{rows} rows are too few to learn from: at least {FEWEST_FOR_QUANTILES} are needed")
    group_columns, groups = _common_groups(columns, rows)
    labels = list(zip(*(columns[name].values for name in group_columns), strict=True)) or [()] * rows
    anchor = _anchor(columns)
    return Structure(
        columns=tuple((column.name, column.type, column.kind) for column in columns.values()),
        group_columns=group_columns,
        groups=groups,
        categories={
            name: {value: count for value, count in column.counts.items() if count >= FEWEST_ROWS}
            for name, column in columns.items()
            if column.kind == "category" and name not in group_columns
        },
        anchor=anchor,
        numbers={
            name: _number_model(column, columns[anchor], labels)
            for name, column in columns.items()
            if column.kind == "number" and anchor and column.present
        },
        lengths={
            name: _quantiles(column.lengths)
            for name, column in columns.items()
            if column.kind in {"text", "address"} and column.present
        },
        missing={name: (column.missing_rate, _missing_value(column)) for name, column in columns.items()},
    )


def _common_groups(columns: Mapping[str, Column], rows: int) -> tuple[tuple[str, ...], dict[Group, int]]:
    """Category columns whose combinations are frequent, fewest values first, and how often each occurs."""
    candidates = sorted((c for c in columns.values() if c.kind == "category"), key=lambda c: (len(c.counts), c.name))
    chosen: list[Column] = []
    groups: dict[Group, int] = {(): rows}
    for column in candidates:
        counts = Counter(zip(*(one.values for one in (*chosen, column)), strict=True))
        frequent = {group: count for group, count in counts.items() if count >= FEWEST_ROWS}
        if sum(frequent.values()) >= KEPT_SHARE * rows:
            chosen.append(column)
            groups = frequent
    return tuple(column.name for column in chosen), groups


def _anchor(columns: Mapping[str, Column]) -> str | None:
    """The numeric column that stands for the price: of those named so (else of all) the roundest, then the largest.

    A list price such as 1290 is round; what follows from it, discounted or converted, is less so.
    """
    numeric = [column for column in columns.values() if column.kind == "number" and column.present]
    named = [column for column in numeric if "price" in column.name.lower()]
    best = max(named or numeric, key=lambda one: (_grain(one.numbers), np.median(one.numbers)), default=None)
    return best.name if best else None


def _number_model(column: Column, anchor: Column, labels: Sequence[Group]) -> NumberModel:
    is_ratio = column is not anchor and _follows(column, anchor)
    values = _ratios(column, anchor) if is_ratio else _floats(column)
    known = np.isfinite(values)
    members: dict[Group, list[float]] = {}
    for label, value in zip(compress(labels, known), values[known], strict=True):
        members.setdefault(label, []).append(float(value))
    fewest = FEWEST_ROWS if is_ratio else FEWEST_FOR_QUANTILES  # a discount alone identifies no product, a price may
    by_group = {group: _quantiles(own) for group, own in members.items() if len(own) >= fewest}
    return NumberModel(by_group, _quantiles(values[known].tolist()), _grain(column.numbers), is_ratio)


def _follows(column: Column, anchor: Column) -> bool:
    """Whether a column is a positive multiple of the anchor, more or less: a discounted or converted price."""
    ratios, logs = _ratios(column, anchor), np.log(_positive(anchor))
    known = np.isfinite(ratios) & np.isfinite(logs)
    if known.sum() < FEWEST_FOR_QUANTILES or min(column.numbers) <= 0 or min(anchor.numbers) <= 0:
        return False
    if ratios[known].max() / ratios[known].min() > MOST_RATIO_SPREAD or np.ptp(logs[known]) == 0:
        return False
    with_anchor = np.corrcoef(logs[known], np.log(ratios[known]) + logs[known])[0, 1]
    return bool(with_anchor > RATIO_CORRELATION)


def _floats(column: Column) -> NDArray[np.float64]:
    """The column's values, NaN where there is none."""
    return np.array([float("nan") if value is None or is_missing(value) else float(value) for value in column.values])


def _positive(column: Column) -> NDArray[np.float64]:
    values = _floats(column)
    return np.where(values > 0, values, np.nan)


def _ratios(column: Column, anchor: Column) -> NDArray[np.float64]:
    return _positive(column) / _positive(anchor)


def _quantiles(values: Sequence[float]) -> Quantiles:
    return Quantiles(np.quantile(np.asarray(values, dtype=np.float64), QUANTILE_POINTS))


def _grain(values: Sequence[float]) -> float:
    """The largest step that almost all values are multiples of."""
    array = np.asarray(values)
    for grain in GRAINS:
        steps = array / grain
        if np.mean(np.abs(steps - np.round(steps)) < 1e-6) >= 0.95:
            return grain
    return 1e-6


def _missing_value(column: Column) -> Value | None:
    written = Counter(value for value in column.values if value is None or is_missing(value))
    return written.most_common(1)[0][0] if written else None
