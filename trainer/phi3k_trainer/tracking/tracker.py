"""What a run tells the world while it goes on, and who listens.

Names of the metrics (all logged with the number of the optimiser step they belong to):

- ``train/loss``, ``train/epoch``, ``train/grad_norm``, ``train/learning_rate`` (language model or adapters),
  ``train/learning_rate_vision``, ``train/learning_rate_projector``
- ``train/tokens_per_second``, ``train/samples_per_second``, ``train/step_seconds``, ``train/data_wait_seconds``,
  ``train/mfu`` (0-1), ``train/memory_gb``
- ``eval/loss`` and ``eval/<field>/<metric>`` as in evaluation.json
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from phi3k_trainer.evaluation.predictions import Prediction


class Tracker:
    """A listener that takes no notice of anything: what ranks other than 0 use. Listeners override what they care for.

    Tracking never stops a run: an implementation reports its own failures and does not raise them.
    """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of optimiser step `step` (counted from 1); steps never go down within one process."""

    def log_predictions(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Take the answers to the table of fixed samples after step `step`."""

    def log_checkpoint(self, path: Path, aliases: Sequence[str]) -> None:
        """Take a finished checkpoint directory; aliases are any of `latest`, `best`, `step-<N>`."""

    def note(self, message: str) -> None:
        """Take one line that a person watching should see."""

    def preempting(self) -> None:
        """Hear that the run was asked to stop and will be started again."""

    def finish(self, exit_code: int) -> None:
        """Hear that the run is over; nothing comes after."""


class Trackers(Tracker):
    """Several listeners as one, called in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Call `trackers` in this order."""
        self._trackers = tuple(trackers)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Tracker.log."""
        for tracker in self._trackers:
            tracker.log(step, metrics)

    def log_predictions(self, step: int, predictions: Sequence[Prediction]) -> None:
        """See Tracker.log_predictions."""
        for tracker in self._trackers:
            tracker.log_predictions(step, predictions)

    def log_checkpoint(self, path: Path, aliases: Sequence[str]) -> None:
        """See Tracker.log_checkpoint."""
        for tracker in self._trackers:
            tracker.log_checkpoint(path, aliases)

    def note(self, message: str) -> None:
        """See Tracker.note."""
        for tracker in self._trackers:
            tracker.note(message)

    def preempting(self) -> None:
        """See Tracker.preempting."""
        for tracker in self._trackers:
            tracker.preempting()

    def finish(self, exit_code: int) -> None:
        """See Tracker.finish."""
        for tracker in self._trackers:
            tracker.finish(exit_code)
