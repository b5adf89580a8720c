"""How far two samples are apart, each as a number from 0 (alike) to 1."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest gap between the two empirical distribution functions; 1 when only one of the samples is empty."""
    if not one or not other:
        return float(bool(one) != bool(other))
    first, second = np.sort(one), np.sort(other)
    places = np.concatenate([first, second])
    return float(np.abs(_share_up_to(first, places) - _share_up_to(second, places)).max())


def _share_up_to(ordered: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.searchsorted(ordered, places, side="right") / len(ordered)


def total_variation(one: Mapping[Hashable, int], other: Mapping[Hashable, int]) -> float:
    """Half the sum of the differences in relative frequency; 1 when no value is common."""
    all_one, all_other = sum(one.values()), sum(other.values())
    if not all_one or not all_other:
        return float(bool(all_one) != bool(all_other))
    values = one.keys() | other.keys()
    return sum(abs(one.get(value, 0) / all_one - other.get(value, 0) / all_other) for value in values) / 2


def by_rank(counts: Mapping[Hashable, int]) -> Counter[Hashable]:
    """The same frequencies under their rank instead of their name, for columns whose names are meant to differ."""
    return Counter(dict(enumerate(sorted(counts.values(), reverse=True))))
