"""How often to save: the interval that loses least to failures and to saving."""

import math


def best_interval(save_seconds: float, seconds_between_failures: float) -> float:
    """Seconds of work between two saves that waste least time (Daly 2006, first terms; Young 1974 is its limit).

    sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + d / 18M) - d for a save of d seconds and a mean time between failures of M;
    M itself where a save takes more than twice as long as a machine lasts.
    """
    d, m = save_seconds, seconds_between_failures
    if d >= 2 * m:
        return m
    ratio = d / (2 * m)
    return math.sqrt(2 * d * m) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - d


def wasted_fraction(interval: float, save_seconds: float, seconds_between_failures: float) -> float:
    """Share of the time lost to saving and to work done twice: d / t + (t + d) / 2M (Young 1974)."""
    return save_seconds / interval + (interval + save_seconds) / (2 * seconds_between_failures)
