"""How far a run has come, apart from weights and optimiser."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ConfigDict, with_config

SPIKE_WINDOW = 100


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class BestScore:
    """The best evaluation by export.score so far."""

    score: str
    """The recipe's export.score at that time."""
    value: float
    step: int
    """The step it was measured at."""


@with_config(ConfigDict(extra="forbid"))
@dataclass
class TrainingState:
    """Everything besides tensors that a resumed run continues with; JSON on disk.

    There is no state of random generators: dropout is seeded anew for each forward pass, from the seed, the step,
    the process and the pass. The order of samples follows from the seed and the step.
    """

    step: int = 0
    """Optimiser steps done, skipped ones included."""
    tokens: int = 0
    """Tokens seen, padding excluded."""
    samples: int = 0
    """Samples seen."""
    seconds: float = 0.0
    """Time spent in training, over all restarts."""
    evaluated_step: int = 0
    """Step of the last finished evaluation."""
    best_loss: float | None = None
    """Lowest evaluation loss."""
    best_step: int | None = None
    """The step it was measured at."""
    best_scored: BestScore | None = None
    """None where the recipe has no export.score, or no evaluation had a value for it."""
    evaluations_since_best: int = 0
    skipped_in_a_row: int = 0
    """Steps skipped without a good one in between."""
    recent_losses: list[float] = field(default_factory=list)
    """Losses of the last good steps, at most 100: spikes are measured against them."""
    wandb_run_id: str | None = None

    def step_of_best(self, score: str | None) -> int | None:
        """The step of the best evaluation by `score`, None: by the loss; None where there was no such evaluation."""
        if score is None:
            return self.best_step
        return self.best_scored.step if self.best_scored and self.best_scored.score == score else None

    def to_json(self) -> dict[str, Any]:
        """All fields, in JSON types."""
        return asdict(self)
