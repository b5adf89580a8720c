"""The command starts in a blink: nothing heavy is imported before a verb needs it."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "kubernetes", "kubeflow", "numpy", "PIL", "pyarrow", "wandb", "datasets", "peft")

RUN = f"""
import json, sys
from phi3k.main import main
code = main(json.loads(sys.argv[1]))
sys.stdout.flush()
print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)
"""

BLINK_SECONDS = 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["recipe", "check", "demo"],
        ["recipe", "show", "burberry-lora"],
        ["recipe", "schema"],
        ["plan", "burberry-lora"],
    ],
    ids=" ".join,
)
def test_no_heavy_package_is_imported(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]


def processor_seconds(arguments: list[str], bytecode: Path) -> float:
    """User and system time of one run with compiled bytecode: what a start costs, however busy the machine is."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "phi3k.main", *arguments]
    subprocess.run(command, capture_output=True, check=True, timeout=60, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["recipe", "check", "demo"]], ids=" ".join)
def test_a_start_takes_less_than_a_blink(arguments: list[str], tmp_path: Path) -> None:
    # The first run compiles, as installing does; the fastest of the others is the one least disturbed.
    assert min(processor_seconds(arguments, tmp_path) for _ in range(5)) < BLINK_SECONDS
