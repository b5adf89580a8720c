"""A row that was set aside, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejection:
    """One row that was set aside."""

    key: str
    """The row's key, or its place in the file where it has none."""
    reason: str
    """A short name to count by, such as `missing_value` or `http_404`."""
    detail: str
    """What exactly was wrong, for a person."""
    transient: bool = False
    """Whether the next run may succeed (after a time-out), as opposed to a permanent failure (a 404)."""
    location: str | None = None
    """URL or path of the picture that was at fault, if one was."""
