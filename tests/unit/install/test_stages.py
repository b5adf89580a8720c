"""`make test` and `.ci/run` end with the time of each stage."""

import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "stages"


def stages(directory: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    (directory / "Makefile").write_text("first: ; @echo one\nbroken: ; @exit 3\nlast: ; @sleep 1\n")
    return subprocess.run([SCRIPT, *targets], cwd=directory, capture_output=True, text=True, check=False)


def test_every_stage_has_its_time(tmp_path: Path) -> None:
    result = stages(tmp_path, "first", "last")
    assert result.returncode == 0
    assert re.search(r"\nfirst +0:0\d +\S+ *\nlast +0:0[1-9] +\S+ *\n$", result.stdout)


def test_a_stage_that_fails_ends_them_and_is_in_the_table(tmp_path: Path) -> None:
    result = stages(tmp_path, "first", "broken", "last")
    assert result.returncode == 1
    assert re.search(r"\nfirst .*\nbroken +0:0\d +\S+ +failed\n$", result.stdout)
