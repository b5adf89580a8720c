"""How far a run is: read from the last lines of its log, whichever form they have. Pure."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

# As phi3k_trainer.tracking.console.PlainLines writes it: `name  step 10/100  loss 1.2345  9,000 tokens/s  ETA 1:02`.
_LINE = re.compile(
    r"  step (?P<step>\d+)/(?P<total>\d+)  loss (?P<loss>\S+)(?:  [\d,]+ tokens/s)?  ETA (?P<remaining>[-\d:]+)"
)


@dataclass(frozen=True)
class Progress:
    """The last point a run has logged."""

    step: int
    total_steps: int
    loss: float
    remaining: str
    """Time to the end as h:mm:ss, or -:-- before it can be told."""


def read_progress(lines: Iterable[str]) -> Progress | None:
    """Return the last point in the lines of a log, None where there is none yet."""
    for line in reversed(list(lines)):
        found = _from_text(line) or _from_json(line)
        if found is not None:
            return found
    return None


def _from_text(line: str) -> Progress | None:
    match = _LINE.search(line)
    if match is None:
        return None
    return Progress(int(match["step"]), int(match["total"]), float(match["loss"]), match["remaining"])


def _from_json(line: str) -> Progress | None:
    try:
        record = json.loads(line)
        return Progress(
            int(record["step"]),
            int(record["total_steps"]),
            float(record["metrics"]["train/loss"]),
            str(record["remaining"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
