"""Which samples each optimiser step takes: a pure function of the seed and the lengths.

Neither the number of processes nor that of loader threads changes the order, so a resumed run
continues with exactly the samples that were next, on any number of processes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Constants of SplitMix64 (Steele, Lea, Flood 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class StepPlan:
    """The samples of every step of a run."""

    order: NDArray[np.int64]
    """Sample ids in the order they are taken, epoch after epoch."""
    bounds: NDArray[np.int64]
    """Step i takes order[bounds[i]:bounds[i + 1]]."""

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.bounds) - 1

    def samples(self, step: int) -> NDArray[np.int64]:
        """Ids of the samples of `step`, counted from 0."""
        return self.order[self.bounds[step] : self.bounds[step + 1]]


def sample_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """A permutation of `range(num_samples)` that depends on nothing but the arguments.

    Samples are sorted by a 64-bit hash. NumPy's own shuffle may change from one version to the next.
    """
    stream = _mix(_mix(np.array([seed], np.uint64)) + np.uint64(epoch))
    keys = _mix(stream + np.arange(num_samples, dtype=np.uint64) * _GOLDEN)
    return np.argsort(keys, kind="stable").astype(np.int64)


def plan_steps(
    seed: int,
    lengths: NDArray[np.int64],
    tokens_per_step: int,
    *,
    epochs: float = 1.0,
    max_steps: int | None = None,
) -> StepPlan:
    """Cut the run's samples, in order, into steps of at least `tokens_per_step` tokens.

    A step may cross from one epoch into the next; only the last step may hold fewer tokens. Every sample
    is taken once an epoch, and `epochs` times len(lengths), rounded, in all.

    Args:
        seed: Decides the order of every epoch.
        lengths: Tokens of each sample, at least 1.
        tokens_per_step: Least tokens of a step.
        epochs: Passes over the samples; the last may be a part of one.
        max_steps: Stop here if that is earlier.
    """
    # A step overshoots by less than its last sample.
    most_tokens = None if max_steps is None else max_steps * (tokens_per_step + int(lengths.max()))
    order = _run_order(seed, lengths, epochs, most_tokens)
    ends = np.cumsum(lengths[order])
    bounds = [0]
    while bounds[-1] < len(order) and (max_steps is None or len(bounds) <= max_steps):
        done = ends[bounds[-1] - 1] if bounds[-1] else 0
        last = int(np.searchsorted(ends, done + tokens_per_step, side="left"))
        bounds.append(min(last + 1, len(order)))
    return StepPlan(order[: bounds[-1]], np.array(bounds, np.int64))


def _run_order(seed: int, lengths: NDArray[np.int64], epochs: float, most_tokens: int | None) -> NDArray[np.int64]:
    """Sample ids of the whole run, or of as many epochs as hold `most_tokens` tokens."""
    left = max(1, round(epochs * len(lengths)))
    epoch_tokens = int(lengths.sum())
    if most_tokens is not None:
        left = min(left, (most_tokens // epoch_tokens + 1) * len(lengths))
    num_epochs = math.ceil(left / len(lengths))
    return np.concatenate([sample_order(seed, epoch, len(lengths)) for epoch in range(num_epochs)])[:left]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the input changes about half of the output's."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))
