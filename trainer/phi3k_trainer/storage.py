"""Unreliable storage: which errors are temporary, how often a read is retried, and which error is raised in the end."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from phi3k_trainer.errors import Phi3kError, UnreadableStorageError

WAITS_SECONDS = (0.2, 0.8, 3.2, 12.8)
"""Pauses between attempts to read while the storage fails."""

PASSING_ERRORS = frozenset(
    {errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOLCK}
    | {errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ESHUTDOWN, errno.EPIPE}
    | {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.ENOLINK}
    | {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS}
)
"""Temporary errors of network file systems and overloaded machines: they say nothing about the file."""

Result = TypeVar("Result")


def blamed(error: Exception, place: object, otherwise: Phi3kError) -> Phi3kError:
    """What to raise for an `error` met while `place` was read: `otherwise`, unless storage is to blame."""
    if not isinstance(error, OSError) or error.errno not in PASSING_ERRORS:
        return otherwise
    return UnreadableStorageError(
        f"{place} can't be read: {error.strerror or error}, in each of {len(WAITS_SECONDS) + 1} attempts; the storage "
        "fails, the file itself may be fine: run again when the storage answers"
    )


def tried_again(attempt: Callable[[], Result], *, wait: Callable[[float], None] = time.sleep) -> Result:
    """What `attempt` returns, after pauses when storage failed.

    Raises:
        UnreadableStorageError: it failed in every attempt.
    """
    for pause in WAITS_SECONDS:
        try:
            return attempt()
        except UnreadableStorageError:
            wait(pause)
    return attempt()
