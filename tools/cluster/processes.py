"""Whole commands as a user starts them, imports included, and what they take."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Seconds that a process took, and those of them that a processor worked on it."""

    passed: float
    worked: float


def phi3k(*arguments: str) -> list[str]:
    """Return the command line of the installed command."""
    return [sys.executable, "-m", "phi3k.main", *arguments]


def cost(command: Sequence[str]) -> Cost:
    """Run a command to its good end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    passed, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
