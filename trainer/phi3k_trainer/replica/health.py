"""How far this replica is, in a small file: the container's probe and the metrics endpoint read it.

On a cluster PHI3K_HEALTH_FILE names the file. The entry point begins it, the first process of each replica goes on.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phi3k_trainer.contract import HEALTH_VARIABLE
from phi3k_trainer.files import encode_json

Phase = Literal[
    "starting",
    "meeting",
    "preparing",
    "waiting",
    "building",
    "training",
    "evaluating",
    "saving",
    "exporting",
    "finishing",
]
# The longest silence, in seconds, that is no reason to worry. torchrun has 10 minutes to connect; fetching the model,
# waiting for another process to prepare, saving to a slow volume, proving an export on the CPU and the first step
# report nothing on the way. A replica that waits for its peers reports every few seconds.
LIMITS: Mapping[Phase, float] = {
    "starting": 900.0,
    "meeting": 600.0,
    "preparing": 3600.0,
    "waiting": 86400.0,
    "building": 1800.0,
    "training": 1800.0,
    "evaluating": 1800.0,
    "saving": 3600.0,
    "exporting": 3600.0,
    "finishing": 1800.0,
}
# Later steps are as long as those before them, so a much longer one is stuck.
SLOWEST_STEPS = 10.0
SHORTEST_LIMIT_SECONDS = 600.0
SECONDS_BETWEEN_BEATS = 1.0


@dataclass
class HealthRecord:
    """What the file holds; times are in seconds since 1970."""

    phase: Phase = "starting"
    time: float = 0.0
    """Of the last progress."""
    limit_seconds: float = LIMITS["starting"]
    """How much older than this progress may become."""
    waiting_for: str = ""
    """Replicas that are not here yet, while it is `meeting`."""
    step: int = 0
    total_steps: int = 0
    """0 until it is known."""
    samples: int = 0
    tokens: int = 0
    loss: float | None = None
    """Of the last step; None before the first, and where it is not finite."""
    tokens_per_second: float | None = None
    """Of the last step."""


class Health:
    """Writes the file; without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`; nothing yet."""
        self._path = path
        self._slowest_step = 0.0
        self._last_step_at: float | None = None
        self._next_beat = 0.0
        self.record = HealthRecord()

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str]) -> "Health":
        """What the environment says; of a replica's processes only the first writes."""
        path = environment.get(HEALTH_VARIABLE)
        return cls(Path(path) if path and environment.get("LOCAL_RANK", "0") == "0" else None)

    def enter(self, phase: Phase) -> None:
        """Say what comes now."""
        self.record.phase, self.record.waiting_for = phase, ""
        self.record.limit_seconds = self._training_limit() if phase == "training" else LIMITS[phase]
        self._last_step_at = None
        self._write()

    @contextmanager
    def meanwhile(self, phase: Phase) -> Iterator[None]:
        """Say that the block, if it ends well, only interrupts the phase."""
        interrupted = self.record.phase
        self.enter(phase)
        yield
        self.enter(interrupted)

    def beat(self) -> None:
        """Say that the phase goes on; cheap enough for every row and every batch."""
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + SECONDS_BETWEEN_BEATS
            self._write()

    def wait_for(self, replicas: str) -> None:
        """Say for whom it waits, and that it still does."""
        self.record.waiting_for = replicas
        self.beat()

    def begin_training(self, step: int, total_steps: int) -> None:
        """Say that training goes on after `step`, to `total_steps`."""
        self.record.step, self.record.total_steps = step, total_steps
        self.enter("training")

    def step(self, step: int, *, samples: int, tokens: int, loss: float, tokens_per_second: float) -> None:
        """Say that an optimiser step is done; the numbers are the run's so far, loss and speed the step's."""
        now = time.monotonic()
        if self._last_step_at is not None:
            self._slowest_step = max(self._slowest_step, now - self._last_step_at)
        self._last_step_at = now
        record = self.record
        record.step, record.samples, record.tokens = step, samples, tokens
        record.loss = loss if math.isfinite(loss) else None
        record.tokens_per_second = tokens_per_second
        record.phase, record.limit_seconds = "training", self._training_limit()
        self._write()

    def _training_limit(self) -> float:
        """The first step may compile and connect; what is usual is known after the second."""
        if not self._slowest_step:
            return LIMITS["training"]
        return max(SHORTEST_LIMIT_SECONDS, SLOWEST_STEPS * self._slowest_step)

    def _write(self) -> None:
        if self._path is None:
            return
        self.record.time = time.time()
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_bytes(encode_json(self.record))
            temporary.replace(self._path)
        except OSError:
            # A full scratch volume is no reason to end the run: the file grows old, and that is seen.
            temporary.unlink(missing_ok=True)
