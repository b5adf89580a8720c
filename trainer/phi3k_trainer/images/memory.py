"""A bound on the memory of all pictures that this process decodes at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DECODING_BYTES = 1 << 30
"""For all threads of a process together: several hundred pictures of a shop at once, or one of the largest."""


class MemoryBudget:
    """Bytes that threads reserve before they use them, first come first served."""

    def __init__(self, total: int) -> None:
        """Hand out at most `total` bytes at the same time."""
        self._total = total
        self._used = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free and hold them within the block; what exceeds the total runs alone."""
        size = min(size, self._total)
        with self._turn, self._changed:  # the turn: a large request isn't overtaken for ever by small ones
            self._changed.wait_for(lambda: self._used + size <= self._total)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()
