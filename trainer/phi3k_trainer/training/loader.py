"""Batches made ahead of the step that needs them, by threads, in order."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from phi3k_trainer.data.batches import MicroBatch, collate
from phi3k_trainer.data.dataset import Example
from phi3k_trainer.data.encoding import Encoder

BATCHES_AHEAD_PER_THREAD = 2


class StepLoader:
    """Yields the forward passes of one process, step by step; which and in what order was planned before.

    Threads change when a batch is made, never what is in it.
    """

    def __init__(
        self,
        steps: Iterable[Sequence[Sequence[int]]],
        examples: Sequence[Example],
        encoder: Encoder,
        num_threads: int,
    ) -> None:
        """Make the batches of `steps`: for each step and forward pass the indexes into `examples`."""
        self._steps = iter(steps)
        self._make: Callable[[Sequence[int]], MicroBatch] = lambda ids: collate(
            [encoder.encode(examples[index]) for index in ids]
        )
        self._pool = ThreadPoolExecutor(num_threads, "phi3k-loader") if num_threads else None
        self._ahead = BATCHES_AHEAD_PER_THREAD * num_threads
        self._pending: deque[deque[Future[MicroBatch]]] = deque()
        self.wait_seconds = 0.0
        """Time that the caller has waited for batches so far."""

    def next_step(self) -> Iterator[MicroBatch]:
        """The forward passes of the next step, each as it becomes ready. Raises DataError for a picture gone bad."""
        if self._pool is None:
            for ids in next(self._steps):
                started = time.monotonic()
                batch = self._make(ids)
                self.wait_seconds += time.monotonic() - started
                yield batch
            return
        self._submit_ahead(self._pool)
        step = self._pending.popleft()
        while step:
            started = time.monotonic()
            batch = step.popleft().result()
            self.wait_seconds += time.monotonic() - started
            yield batch

    def _submit_ahead(self, pool: ThreadPoolExecutor) -> None:
        """Hand out whole steps until enough batches are under way besides those of the step that begins."""
        while not self._pending or sum(len(step) for step in islice(self._pending, 1, None)) < self._ahead:
            batches = next(self._steps, None)
            if batches is None:
                return
            self._pending.append(deque(pool.submit(self._make, ids) for ids in batches))

    def __enter__(self) -> Self:
        """Close when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop batches that nobody took."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
