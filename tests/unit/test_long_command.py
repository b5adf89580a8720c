"""Long commands of the tests end for what they do, not for how long that takes."""

import sys
import time
from pathlib import Path

import pytest

from tests.long_command import Limits, LongCommandError, run_long_command

SPIN_IN_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


def test_the_cpu_time_of_children_counts(tmp_path: Path) -> None:
    with pytest.raises(LongCommandError):
        run_long_command([sys.executable, "-c", SPIN_IN_A_CHILD], tmp_path, tmp_path / "output", Limits(cpu=0.2))


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    limits = Limits(cpu=60, idle=1)
    begin = time.monotonic()
    with pytest.raises(LongCommandError):
        run_long_command(["sleep", "600"], tmp_path, tmp_path / "output", limits)
    assert time.monotonic() - begin < 60


def test_time_that_passes_without_work_is_free(tmp_path: Path) -> None:
    run_long_command(["sleep", "2"], tmp_path, tmp_path / "output", Limits(cpu=1))


def test_a_failure_shows_the_end_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(LongCommandError, match="exit code 3: why"):
        run_long_command(["sh", "-c", "echo why; exit 3"], tmp_path, tmp_path / "output", Limits(cpu=60))
