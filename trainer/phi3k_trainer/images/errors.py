"""What can be wrong with a picture."""

from typing import Literal

from phi3k_trainer.errors import DataError

Reason = Literal["unreadable", "too_large", "unsupported_format", "empty", "too_thin", "too_slow"]


class ImageError(DataError):
    """A picture that can't be used; `reason` is the word under which quarantine counts it."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep `reason` beside the message."""
        super().__init__(message)
        self.reason: Reason = reason
