"""docs/comparison.md shows what bench/comparison.py counts."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def test_the_page_shows_the_lines_that_are_counted() -> None:
    command = [sys.executable, str(REPOSITORY / "bench" / "comparison.py"), "lines"]
    counted = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert counted in (REPOSITORY / "docs" / "comparison.md").read_text()
