"""Requests to stop: SIGTERM (a node is drained, a pod is preempted) and Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phi3k_trainer.contract import PREEMPTED_EXIT_CODE
from phi3k_trainer.errors import Phi3kError


class PreemptedError(Phi3kError):
    """The run was asked to stop; what it had learned is saved."""

    exit_code = PREEMPTED_EXIT_CODE

    def __init__(self, message: str, step: int | None = None, checkpoint: str | None = None) -> None:
        """Say how far the run had come, and where that is saved."""
        super().__init__(message)
        self.step = step
        self.checkpoint = checkpoint


class StopNow(BaseException):
    """Unwinds to `listening`. No Exception: code that expects any error from a decoder must not catch it."""


class StopRequest:
    """Whether the run was asked to stop, and whether that may interrupt it at once or has to wait for a save."""

    def __init__(self) -> None:
        """Nobody has asked yet, and until training begins there is nothing to save."""
        self.requested = False
        self._deferred = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT until the block ends.

        Outside of `deferred` a signal ends the block at once. SIGTERM may come several times (from a process group
        and from torchrun); a second Ctrl-C has its usual effect.

        Raises:
            PreemptedError: a signal ended the block.
        """
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        except StopNow:
            raise PreemptedError("asked to stop; there was nothing left to save. Continue with --resume") from None
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a signal only sets `requested`: the training loop reads it and saves."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self._deferred:
            raise StopNow
