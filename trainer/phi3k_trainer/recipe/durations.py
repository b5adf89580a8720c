"""Durations as the recipe writes them, such as 12h."""

from typing import Annotated

from pydantic import AfterValidator, Field

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Kubernetes counts a job's seconds in an int32, and the entry point's alarm has no more either.
LONGEST_SECONDS = 2**31 - 1


def seconds(duration: str) -> int:
    """Return the seconds of a duration (the recipe has checked its form)."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def _counted_by_kubernetes(duration: str) -> str:
    if seconds(duration) > LONGEST_SECONDS:
        days = LONGEST_SECONDS // SECONDS["d"]
        raise ValueError(f"should be at most {days}d (68 years), the longest that Kubernetes counts, not {duration}")
    return duration


Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$"), AfterValidator(_counted_by_kubernetes)]
