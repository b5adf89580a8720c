"""How the preparation of data reports its progress to the caller."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """The progress to show."""

    stage: Literal["files", "reading", "pictures"]
    done: int
    total: int | None
    """None while the number of rows is not known."""
    failed: int = 0


ProgressCallback = Callable[[Progress], None]
"""Called often, in the caller's thread; an exception it raises stops the preparation and loses nothing fetched."""
