"""A command that takes minutes, limited by the work it does and not by how busy the machine is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Limits:
    """CPU time of the whole process tree, and the longest wall time in which it may use none, both in seconds."""

    cpu: float
    idle: float = 300.0


class LongCommandError(AssertionError):
    """The command failed, used more CPU time than it may, or none for too long."""


def run_long_command(command: Sequence[str | Path], directory: Path, output: Path, limits: Limits) -> None:
    """Run the command in the directory, its output in the file.

    Raises:
        LongCommandError: it failed or was killed for its limits; with the end of its output.
    """
    with output.open("w") as file, psutil.Popen(command, cwd=directory, stdout=file, stderr=file) as process:
        used, moved = 0.0, time.monotonic()
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            before, used = used, cpu_seconds(process)
            if used != before:
                moved = time.monotonic()
            if used > limits.cpu or time.monotonic() - moved > limits.idle:
                kill(process)
                raise LongCommandError(f"killed after {used:.0f} s of CPU time, {limits}: {end_of(output)}")
    if process.returncode:
        raise LongCommandError(f"exit code {process.returncode}: {end_of(output)}")


def end_of(output: Path) -> str:
    """The last words of a command."""
    return output.read_text()[-4000:]


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time of a process, of those that it waited for and of its living descendants."""
    total = 0.0
    for member in tree(process):
        try:
            total += sum(member.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def kill(process: psutil.Process) -> None:
    """End a process with its descendants."""
    for member in tree(process):
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and its living descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
