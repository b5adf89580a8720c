"""The schedule of the learning rate over a run, as a factor of its peak."""

import math
from typing import Literal


def learning_rate_factor(
    step: int,
    total_steps: int,
    *,
    schedule: Literal["cosine", "linear", "constant"],
    warmup_fraction: float,
    min_fraction: float,
) -> float:
    """The factor, 0 to 1, that step `step` (counted from 0) multiplies the peak learning rate with.

    During the first ceil(warmup_fraction * total_steps) steps the factor rises by equal parts and reaches 1 with the
    last of them. After that `cosine` and `linear` fall, and would reach `min_fraction` one step after the last.
    """
    warmup_steps = math.ceil(warmup_fraction * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step + 1 - warmup_steps) / (total_steps + 1 - warmup_steps)
    fall = (1 - math.cos(math.pi * progress)) / 2 if schedule == "cosine" else progress
    return 1 - (1 - min_fraction) * fall
