"""Batches made ahead of the step that needs them, by threads, in order."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, tee
from types import TracebackType
from typing import Self

from phi3k_trainer.data.batches import MicroBatch, collate
from phi3k_trainer.data.dataset import Example
from phi3k_trainer.data.encoding import Encoder

BATCHES_AHEAD_PER_THREAD = 2


class StepLoader:
    """Yields the forward passes of one process, step by step; which and in what order was planned before.

    Threads change when a batch is made, never what is in it. However many passes a step has, at most
    BATCHES_AHEAD_PER_THREAD batches of each thread are in memory besides those that the caller holds.
    """

    def __init__(
        self,
        steps: Iterable[Sequence[Sequence[int]]],
        examples: Sequence[Example],
        encoder: Encoder,
        num_threads: int,
    ) -> None:
        """Make the batches of `steps`: for each step and forward pass the indexes into `examples`."""
        self._steps, upcoming = tee(steps) if num_threads else (iter(steps), iter(()))
        self._upcoming = chain.from_iterable(upcoming)
        self._make: Callable[[Sequence[int]], MicroBatch] = lambda ids: collate(
            [encoder.encode(examples[index]) for index in ids]
        )
        self._pool = ThreadPoolExecutor(num_threads, "phi3k-loader") if num_threads else None
        self._ahead = BATCHES_AHEAD_PER_THREAD * num_threads
        self._pending: deque[Future[MicroBatch]] = deque()
        self.wait_seconds = 0.0
        """Time that the caller has waited for batches so far."""

    def next_step(self) -> Iterator[MicroBatch]:
        """The forward passes of the next step, each as it becomes ready. Raises DataError for a picture gone bad."""
        for ids in next(self._steps):
            started = time.monotonic()
            batch = self._make(ids) if self._pool is None else self._next_made(self._pool)
            self.wait_seconds += time.monotonic() - started
            yield batch

    def _next_made(self, pool: ThreadPoolExecutor) -> MicroBatch:
        """The next batch, after handing out as many behind it as may be held, of this step and later ones."""
        for ids in islice(self._upcoming, self._ahead + 1 - len(self._pending)):
            self._pending.append(pool.submit(self._make, ids))
        return self._pending.popleft().result()

    def __enter__(self) -> Self:
        """Close when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop batches that nobody took."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
