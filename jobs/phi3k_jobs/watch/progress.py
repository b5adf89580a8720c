"""The progress of a run, parsed from the last lines of its log, as text or as JSON. Pure functions."""

from collections.abc import Iterable

from phi3k_trainer.contract import Progress, read_progress_line, read_progress_record


def read_progress(lines: Iterable[str]) -> Progress | None:
    """Return the last progress in the lines of a log, None if there is none yet."""
    for line in reversed(list(lines)):
        found = read_progress_line(line) or read_progress_record(line)
        if found is not None:
            return found
    return None
