"""The command starts in a blink: nothing heavy is imported before a verb needs it."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "kubernetes", "kubeflow", "numpy", "PIL", "pyarrow", "wandb", "datasets", "peft")

RUN = f"""
import json, sys
from phi3k.main import main
code = main(json.loads(sys.argv[1]))
sys.stdout.flush()
print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)
"""

# 344 and 325 were counted, which take about 0.2 s of processor time; with torch there are over 1,000.
MOST_MODULES = 400


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


def modules_imported(arguments: list[str]) -> int:
    """How many modules one command line has imported by its end: what a start costs, the same on every machine."""
    script = "import sys; from phi3k.main import main; main(sys.argv[1:]); print(len(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("arguments", [["--help"], ["recipe", "check", "demo"]], ids=" ".join)
def test_a_start_imports_few_modules(arguments: list[str]) -> None:
    assert modules_imported(arguments) <= MOST_MODULES
