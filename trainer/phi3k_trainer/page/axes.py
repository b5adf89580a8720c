"""Scales and ticks of the charts: pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers about `count` steps apart that cover [low, high]; the first is <= low, the last >= high."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * magnitude for nice in NICE_STEPS if nice * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that cover [low, high], both > 0, with 2 and 5 between them where the decades are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    decades = last - first
    if decades > 6:
        stride = math.ceil(decades / 6)
        return [10.0**exponent for exponent in range(first, last + stride, stride)]
    if decades > 2:
        return [10.0**exponent for exponent in range(first, last + 1)]
    fine = [factor * 10.0**exponent for exponent in range(first, last + 1) for factor in (1, 2, 5)]
    start = max(index for index, tick in enumerate(fine) if tick <= low * (1 + 1e-9))
    end = min((index for index, tick in enumerate(fine) if tick >= high * (1 - 1e-9)), default=len(fine) - 1)
    return fine[start : max(end, start + 1) + 1]


@dataclass(frozen=True)
class Axis:
    """Places values between two pixel positions; the ticks' ends are the ends of the axis."""

    ticks: Sequence[float]
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The pixel position of `value`."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def fit_axis(values: Sequence[float], start: float, end: float, *, logarithmic: bool = False, count: int = 5) -> Axis:
    """An axis that shows all `values` (finite, at least one; > 0 when logarithmic)."""
    low, high = min(values), max(values)
    ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high, count)
    return Axis(ticks, start, end, logarithmic)
