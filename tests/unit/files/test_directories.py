"""A directory appears whole or not at all, and what a killed process left of one is removed by the next."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phi3k_trainer.directories import discard, new_directory

# Writes half of a directory, says so, and waits.
HALF = """
import sys, time
from pathlib import Path
from phi3k_trainer.directories import new_directory
with new_directory(Path(sys.argv[1])) as directory:
    (directory / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def half_written(destination: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing a directory."""
    process = subprocess.Popen([sys.executable, "-c", HALF, str(destination)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def write(destination: Path) -> None:
    with new_directory(destination) as directory:
        (directory / "whole").write_text("whole")


def test_a_directory_appears_with_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_directory(tmp_path / "model"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kill(half_written(tmp_path / "model"))
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_living_process_writes_is_not_touched(tmp_path: Path) -> None:
    living = half_written(tmp_path / "model")
    try:
        write(tmp_path / "model")
        (unfinished,) = (path for path in tmp_path.iterdir() if path.name != "model")
        assert (unfinished / "half").read_text() == "half"
    finally:
        kill(living)


@pytest.mark.parametrize(
    "name", [".model.unfinished", ".model.0123456789abcdef.unfinished", ".other.0123456789abcdef.unfinished"]
)
def test_what_is_not_ours_is_not_touched(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / ("lock" if name.startswith(".model.0") else ".lock")).touch()
    write(tmp_path / "model")
    assert (tmp_path / name).is_dir()


def test_a_discarded_directory_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "model")
    discard(tmp_path / "model")
    assert not list(tmp_path.iterdir())
