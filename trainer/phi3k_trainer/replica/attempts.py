"""The attempts of one replica, as their logs in the run's directory tell them: where each began and how it ended."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.contract import PERMANENT_EXIT_CODES, PREEMPTED_EXIT_CODE, attempt_record, later_attempt_record
from phi3k_trainer.errors import TrainingError
from phi3k_trainer.files import convert, decode_json, encode_json, reading
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.replica.exit_report import ExitReport
from phi3k_trainer.replica.log import ReplicaLog
from phi3k_trainer.run_directory import RunDirectory

# In the line of a replica that waits for its peers: whom it waits for.
WAITING_FOR = "waiting_for"
# Logs of a replica that are kept: those of its last attempts.
KEPT_ATTEMPTS = 20
# Longer than any last line: an outcome names one error.
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Attempt:
    """One start of a replica."""

    number: int
    log: Path
    checkpoint: str | None
    """The newest checkpoint when it began."""
    outcome: ExitReport | None
    """None: it ended without a word, killed as a whole or lost with its node."""
    waited_for: str | None
    """Replicas that it still waited for at that moment; None: it had begun, or it left word."""

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.waited_for is not None:
            return f"while it waited for {self.waited_for}: its container was killed, or its node was lost"
        if self.outcome is None:
            return "without a word: its container was killed, or its node was lost"
        return f"with {self.outcome.exit_code}: {self.outcome.message}"


def begin_log(run: Path, replica: str) -> tuple[ReplicaLog, list[Attempt]]:
    """Begin the log of the next attempt of `replica`, say how the one before ended, and return the earlier ones."""
    directory = RunDirectory(run).logs
    try:
        before = read_attempts(directory, replica)
        _remove_oldest(before)
    except OSError as error:
        print(f"the logs in {directory} can't be read: {error.strerror or error}", file=sys.stderr, flush=True)
        before = []
    number = before[-1].number + 1 if before else 1
    message = f"attempt {number} of {replica}"
    header = attempt_record(number, message)
    if before:
        last = before[-1]
        message += f"; the one before ended {last.ending}. Its lines are in {last.log}"
        header = later_attempt_record(number, message, asdict(last.outcome) if last.outcome else None)
        print(encode_json(header).decode(), end="", flush=True)
    log = ReplicaLog(directory / f"{replica}-{number}.log", header | {"checkpoint": newest_checkpoint(run)})
    return log, before


def newest_checkpoint(run: Path) -> str | None:
    """The name of the newest checkpoint, whether it verifies or not. Names of later steps are longer or greater."""
    names = [path.name for path in RunDirectory(run).checkpoints.glob("step-*")]
    return max(names, key=lambda name: (len(name), name), default=None)


def reason_to_give_up(recipe: Recipe, before: Sequence[Attempt]) -> ExitReport | None:
    """A permanent failure if the last attempts were more than `cluster.retries` and led nowhere, else None.

    The training operator 1.9 compares backoffLimit with the requeues of its own work queue, not with failures: unless
    the limit is 0, a run that can't succeed would be tried for ever, and hold its GPUs.
    """
    count = count_fruitless(before, newest_checkpoint(recipe.run_path))
    if count <= recipe.cluster.retries:
        return None
    last, attempts = before[-1], "attempt" if count == 1 else f"{count} attempts"
    return ExitReport(
        TrainingError.exit_code,
        f"gave up: the last {attempts} made no checkpoint, and cluster.retries is {recipe.cluster.retries}; "
        f"the last one ended {last.ending}. Its lines are in {last.log}",
    )


def read_attempts(directory: Path, replica: str) -> list[Attempt]:
    """The attempts of `replica` that left a log in `directory`, oldest first."""
    pattern = re.compile(re.escape(replica) + r"-(\d+)\.log")
    found = ((pattern.fullmatch(path.name), path) for path in directory.glob(f"{replica}-*.log"))
    numbered = sorted((int(match[1]), path) for match, path in found if match)
    return [Attempt(number, path, *_ends_of(path)) for number, path in numbered]


def count_fruitless(attempts: Sequence[Attempt], checkpoint: str | None) -> int:
    """How many of the last attempts in a row failed and left no newer checkpoint than they found.

    One that saved when asked to stop doesn't count, nor what went before a permanent error: somebody corrected that.
    One that was killed while it waited for its peers is passed over.
    """
    count = 0
    for attempt in reversed(attempts):
        if attempt.waited_for is not None:
            continue
        code = attempt.outcome.exit_code if attempt.outcome else None
        if attempt.checkpoint != checkpoint or code in (0, PREEMPTED_EXIT_CODE, *PERMANENT_EXIT_CODES):
            break
        count += 1
    return count


def _remove_oldest(before: Sequence[Attempt]) -> None:
    """Make room for one more."""
    for old in before[: 1 - KEPT_ATTEMPTS]:
        for path in (old.log, old.log.with_suffix(".old")):
            if not path.is_dir():
                path.unlink(missing_ok=True)


def _ends_of(path: Path) -> tuple[str | None, ExitReport | None, str | None]:
    """The checkpoint in a log's first line; in its last one the outcome, or whom the replica waited for."""
    try:
        with reading(path) as file:
            first = _document(file.readline(_TAIL_BYTES))
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            last = _document(file.read(_TAIL_BYTES).rstrip(b"\n").rpartition(b"\n")[2])
    except OSError as error:
        print(f"{path} can't be read: {error.strerror or error}", file=sys.stderr, flush=True)
        return None, None, None
    checkpoint, waited_for = first.get("checkpoint"), last.get(WAITING_FOR)
    return (
        checkpoint if isinstance(checkpoint, str) else None,
        _outcome(last),
        waited_for if isinstance(waited_for, str) else None,
    )


def _outcome(document: dict[str, Any]) -> ExitReport | None:
    try:
        return convert(ExitReport, document)
    except ValueError:  # the last line is another one
        return None


def _document(line: bytes) -> dict[str, Any]:
    """The JSON object after a line's timestamp, empty if it is something else, or torn by a kill or a full disk."""
    try:
        return convert(dict[str, Any], decode_json(line.partition(b" ")[2]))
    except ValueError:
        return {}
