"""What a person watching a run sees: a progress bar on a terminal, lines in a pod's log, JSON for a log collector."""

import os
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from phi3k_trainer import contract
from phi3k_trainer.files import encode_json
from phi3k_trainer.terminal import escaped_json, escaped_line
from phi3k_trainer.tracking.tracker import Tracker

SECONDS_BETWEEN_LINES = 10.0
MAIN_METRICS = ("accuracy", "median_ape", "exact_match")
"""The score that stands for a field: the first of these that its kind has."""


def console_tracker(console: Console, name: str, step: int, total_steps: int) -> Tracker:
    """Choose the listener for `console`: JSON lines when PHI3K_LOG_FORMAT=json, a bar on a terminal, else plain lines.

    Args:
        console: Where to print.
        name: Name of the run.
        step: Optimiser step that the run starts after.
        total_steps: Optimiser step that the run ends with.
    """
    if console.is_terminal and not _is_json_wanted():
        return ProgressBar(console, name, step, total_steps)
    return line_tracker(console, name, step, total_steps)


def line_tracker(console: Console, name: str, step: int, total_steps: int) -> Tracker:
    """The same without the bar, which only one process can draw."""
    listener = JsonLines if _is_json_wanted() else PlainLines
    return listener(console, name, step, total_steps)


def _is_json_wanted() -> bool:
    return os.environ.get(contract.LOG_FORMAT_VARIABLE) == "json"


class Pace:
    """Estimates the time that is left from the steps made in this process."""

    def __init__(self, step: int, total_steps: int) -> None:
        """Start after `step` of `total_steps`."""
        self._first_step = step
        self._total_steps = total_steps
        self._started = time.monotonic()

    def remaining(self, step: int) -> str:
        """Time from step `step` to the end, as h:mm:ss, or -:-- before the first step."""
        if step <= self._first_step:
            return "-:--"
        seconds_per_step = (time.monotonic() - self._started) / (step - self._first_step)
        minutes, seconds = divmod(round((self._total_steps - step) * seconds_per_step), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class ProgressBar(Tracker):
    """A live bar with loss, tokens/s and the time left; evaluations and notes scroll above it."""

    def __init__(self, console: Console, name: str, step: int, total_steps: int) -> None:
        """Show the bar from now until `finish`."""
        self._pace = Pace(step, total_steps)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss [bold]{task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TimeElapsedColumn(),
            TextColumn("ETA {task.fields[remaining]}"),
            console=console,
            expand=True,
        )
        self._task: TaskID = self._progress.add_task(
            name, completed=step, total=total_steps, loss="-", speed="-", remaining="-:--"
        )
        self._progress.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move the bar, and print evaluation metrics above it."""
        fields: dict[str, Any] = {"remaining": self._pace.remaining(step)}
        if contract.TRAIN_LOSS in metrics:
            fields["loss"] = f"{metrics[contract.TRAIN_LOSS]:.4f}"
        if "train/tokens_per_second" in metrics:
            fields["speed"] = f"{metrics['train/tokens_per_second']:,.0f}"
        self._progress.update(self._task, completed=step, **fields)
        if line := evaluation_line(step, metrics):
            self.note(line)

    def note(self, message: str) -> None:
        """Print above the bar."""
        self._progress.console.print(Text(escaped_line(message)))

    def finish(self, exit_code: int) -> None:  # noqa: ARG002
        """Leave the bar as it stands."""
        self._progress.stop()


class PlainLines(Tracker):
    """A line every few seconds, for logs that nobody can redraw."""

    def __init__(self, console: Console, name: str, step: int, total_steps: int) -> None:
        """Print the first line at the first step."""
        self._console = console
        self._name = name
        self._total_steps = total_steps
        self._pace = Pace(step, total_steps)
        self._next_line = 0.0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Print the step when a line is due, and evaluation metrics always."""
        now = time.monotonic()
        if contract.TRAIN_LOSS in metrics and (now >= self._next_line or step == self._total_steps):
            self._next_line = now + SECONDS_BETWEEN_LINES
            point = contract.Progress(step, self._total_steps, metrics[contract.TRAIN_LOSS], self._pace.remaining(step))
            self.note(contract.write_progress_line(self._name, point, metrics.get("train/tokens_per_second")))
        if line := evaluation_line(step, metrics):
            self.note(line)

    def note(self, message: str) -> None:
        """Print one line, never wrapped."""
        self._console.print(Text(escaped_line(message)), soft_wrap=True)


class JsonLines(Tracker):
    """Every logged point and every note as one JSON object a line."""

    def __init__(self, console: Console, name: str, step: int, total_steps: int) -> None:
        """Print to `console`, marking each line with the run's name."""
        self._console = console
        self._name = name
        self._total_steps = total_steps
        self._pace = Pace(step, total_steps)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Print the metrics; numbers that are not finite become strings such as "nan"."""
        values = {name: value if abs(value) < float("inf") else str(value) for name, value in metrics.items()}
        self._print(contract.progress_record(step, self._total_steps, self._pace.remaining(step), values))

    def note(self, message: str) -> None:
        """Print the message."""
        self._print({"message": message})

    def _print(self, record: Mapping[str, Any]) -> None:
        line = encode_json({"time": round(time.time(), 3), "run": self._name, **record}).decode()
        self._console.print(Text(escaped_json(line)), soft_wrap=True, end="")


def evaluation_line(step: int, metrics: Mapping[str, float]) -> str:
    """The evaluation of one step in a line: its loss, or each field's main score beside the blind control's.

    Empty when there is no evaluation among the metrics.
    """
    scores = {name.removeprefix("eval/"): value for name, value in metrics.items() if name.startswith("eval/")}
    parts = [f"loss {scores['loss']:.4g}"] if "loss" in scores else []
    fields = dict.fromkeys(name.split("/")[0] for name in scores if name.count("/") == 1)
    for field in fields:
        metric = next(metric for metric in MAIN_METRICS if f"{field}/{metric}" in scores)
        blind = scores.get(f"blind/{field}/{metric}")
        beside = f" (blind {blind:.3g})" if blind is not None else ""
        parts.append(f"{field} {metric} {scores[f'{field}/{metric}']:.3g}{beside}")
    return f"evaluation at step {step}: " + ", ".join(parts) if parts else ""
