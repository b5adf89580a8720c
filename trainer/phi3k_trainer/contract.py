"""What the trainer in a pod and whoever watches it from outside agree on: names, numbers, places and written forms.

It imports nothing of ours, so both sides can import it. A form has its writing and its reading function side by side.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

# Exit codes as in sysexits(3): 64-78 are permanent, since running again can't correct them; 128 and above are worth
# a retry.
USAGE_EXIT_CODE = 64
DATA_EXIT_CODE = 65
MISSING_INPUT_EXIT_CODE = 66
UNAVAILABLE_EXIT_CODE = 69
SOFTWARE_EXIT_CODE = 70
OUTPUT_EXIT_CODE = 73
STORAGE_EXIT_CODE = 74
DEADLINE_EXIT_CODE = 75
PERMISSION_EXIT_CODE = 77
RECIPE_EXIT_CODE = 78
PERMANENT_EXIT_CODES = range(64, 79)
SIGNAL_EXIT_CODE_BASE = 128
"""A process that a signal has killed has this code plus the signal's number."""
UNEXPLAINED_EXIT_CODE = 129
"""No process left a reason: a lost peer or a failed rendezvous, which may not happen again in a retry."""
PREEMPTED_EXIT_CODE = 143
"""The run was asked to stop, and what it had learned is saved."""
UNREADABLE_STORAGE_EXIT_CODE = 144

KindName = Literal["pytorchjob", "trainjob", "job", "jobset"]
"""The kinds of job that can carry a run, in order of preference. `jobs` has a module for each."""

# Environment variables.
OWN_PREFIX = "PHI3K_"
# Set by the pod.
DEADLINE_VARIABLE = "PHI3K_DEADLINE_SECONDS"
HEALTH_VARIABLE = "PHI3K_HEALTH_FILE"
IMAGE_VARIABLE = "PHI3K_IMAGE"
LOG_FORMAT_VARIABLE = "PHI3K_LOG_FORMAT"
METRICS_PORT_VARIABLE = "PHI3K_METRICS_PORT"
WANDB_RUN_VARIABLE = "WANDB_RUN_ID"
# Set by the user or program that starts the trainer.
ALL_RANKS_VARIABLE = "PHI3K_LOG_ALL_RANKS"
"""1: the pod's log shows every process, not only the first."""
PLAIN_HTTP_VARIABLE = "PHI3K_PLAIN_HTTP"
# Set by the image: the commit that it was built from.
REVISION_VARIABLE = "PHI3K_REVISION"
# Set by the entry point for the processes that it starts.
OUTCOMES_VARIABLE = "PHI3K_OUTCOMES"
OUTPUT_VARIABLE = "PHI3K_OUTPUT"
# torchrun's options, set by the job's operator or by the pod of a Job.
TORCHRUN_PREFIX = "PET_"
NODES_VARIABLE = "PET_NNODES"
PROCESSES_VARIABLE = "PET_NPROC_PER_NODE"
MASTER_ADDRESS_VARIABLE = "PET_MASTER_ADDR"
MASTER_PORT_VARIABLE = "PET_MASTER_PORT"
NODE_RANK_VARIABLE = "PET_NODE_RANK"
RENDEZVOUS_VARIABLE = "PET_RDZV_ENDPOINT"

METRICS_PORT = 9464
METRICS_PORT_NAME = "metrics"
RENDEZVOUS_PORT = 23456

# Paths inside the container.
CACHE, RUNS, RECIPES, SCRATCH, SHARED_MEMORY = "/cache", "/runs", "/etc/phi3k", "/tmp", "/dev/shm"
DATA_CACHE = f"{CACHE}/phi3k"
RECIPE_FILE = f"{RECIPES}/recipe.yaml"
HEALTH_FILE = f"{SCRATCH}/phi3k-health.json"
INSTALLATION = "/opt/phi3k"
PYTHON = f"{INSTALLATION}/bin/python"
PROGRAM = f"{INSTALLATION}/bin/phi3k"
HEALTH_CHECK = f"{INSTALLATION}/health_check.py"

# Modules that are run as programs.
ENTRYPOINT_MODULE = "phi3k_trainer.replica.entrypoint"
WORKER_MODULE = "phi3k_trainer.training.worker"
GPUS_MODULE = "phi3k_trainer.distributed.gpus"
CACHE_MODULE = "phi3k_trainer.data.cache"

TRAIN_LOSS = "train/loss"
"""The metric that the progress of a run shows."""
MEMORY_EXCEEDED = "more memory than its limit"
"""Words of the termination message of a container that the kernel has stopped for its memory."""

# The written forms. Fields in braces differ from line to line.
PROGRESS_LINE = "  step {step}/{total_steps}  loss {loss}{speed}  ETA {remaining}"
"""Progress in the log for people, after the run's name."""
PROGRESS_SPEED = "  {tokens_per_second} tokens/s"
COMPLAINT = "no progress since {since}: {where}"
"""What the readiness probe prints. `replica/health_check.py` writes it, and imports nothing of ours: it holds a copy,
which a test compares with this."""


@dataclass(frozen=True)
class Progress:
    """A point of a run, as its log shows it."""

    step: int
    total_steps: int
    loss: float
    remaining: str
    """Time to the end as h:mm:ss, or -:-- before the first step."""


@dataclass(frozen=True)
class Complaint:
    """Why a container is not ready."""

    since: str
    """Time of the last progress, ISO 8601."""
    where: str
    """The phase, and the step where training has begun."""


@dataclass(frozen=True)
class AttemptStart:
    """The start of a second or later attempt of a replica."""

    number: int
    """Counted from 1."""
    message: str
    previous_exit_code: int | None
    """Exit code of the previous attempt; None where it recorded none."""


def write_progress_line(run: str, point: Progress, tokens_per_second: float | None) -> str:
    """Return the line of a log for people; without a speed where it is not known."""
    speed = "" if tokens_per_second is None else PROGRESS_SPEED.format(tokens_per_second=f"{tokens_per_second:,.0f}")
    return run + PROGRESS_LINE.format(**vars(point) | {"loss": f"{point.loss:.4f}", "speed": speed})


def read_progress_line(line: str) -> Progress | None:
    """Return the point in a line of a log for people, None where it holds none."""
    speed = _expression(PROGRESS_SPEED, tokens_per_second=r"[\d,]+")
    fields = {"step": r"\d+", "total_steps": r"\d+", "loss": r"-?(?:\d+\.\d+|inf|nan)", "remaining": r"[-\d:]+"}
    match = re.search(_expression(PROGRESS_LINE, speed=f"(?:{speed})?", **fields), line)
    if match is None:
        return None
    return Progress(int(match["step"]), int(match["total_steps"]), float(match["loss"]), match["remaining"])


def progress_record(step: int, total_steps: int, remaining: str, metrics: Mapping[str, float | str]) -> dict[str, Any]:
    """Return the same for a log of JSON lines, with all `metrics` of the step: an object to be encoded."""
    return {"step": step, "total_steps": total_steps, "remaining": remaining, "metrics": dict(metrics)}


def read_progress_record(line: str) -> Progress | None:
    """Return the point in a line of a JSON log, None where it holds none or no training loss."""
    try:
        record = json.loads(line)
        loss = float(record["metrics"][TRAIN_LOSS])
        return Progress(int(record["step"]), int(record["total_steps"]), loss, str(record["remaining"]))
    except (ValueError, KeyError, TypeError):
        return None


def read_complaint(message: str) -> Complaint | None:
    """Return the probe's complaint in the kubelet's message about it, None where there is none."""
    match = re.search(_expression(COMPLAINT, since=r"\S+", where=".+"), message)
    return Complaint(match["since"], match["where"]) if match else None


def attempt_record(number: int, message: str) -> dict[str, Any]:
    """Return the first line of a replica's first attempt: an object to be encoded."""
    return {"message": message, "attempt": number}


def later_attempt_record(number: int, message: str, previous: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the first line of a later attempt, with the outcome of the previous one, None where it recorded none."""
    return attempt_record(number, message) | {"previous": previous}


def read_later_attempt(line: str) -> AttemptStart | None:
    """Return the start of a second or later attempt in the first line of its log, None where it is another line."""
    try:
        record = json.loads(line)
        previous = record["previous"] or {}
        return AttemptStart(record["attempt"], record["message"], previous.get("exit_code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _expression(form: str, **fields: str) -> str:
    """Return the regular expression of a form: its text, and each field as a group with the given expression."""
    return "".join(
        re.escape(words) + (f"(?P<{field}>{fields[field]})" if field else "")
        for words, field, _, _ in Formatter().parse(form)
    )
