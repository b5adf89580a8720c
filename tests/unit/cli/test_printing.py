"""How results look."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi3k.printing import duration, gibibytes, print_table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (150, "2.5 min"),
        (3600, "60 min"),
        (9000, "2.5 h"),
        (86_400, "24 h"),
        (259_200, "3.0 d"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_bytes_are_given_in_gibibytes() -> None:
    assert gibibytes(3 * 2**30 // 2) == "1.5 GiB"


def test_a_table_in_a_file_is_neither_cut_nor_folded(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    print_table(("Name", "Count"), [(long, "1")], title="Things")
    printed = capsys.readouterr().out
    assert printed.startswith("Things\n")
    assert long in printed


def test_a_cell_is_printed_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("Name",), [("[red]a[/red]",)])
    assert "[red]a[/red]" in capsys.readouterr().out


def test_a_name_that_is_not_utf8_is_printed_escaped(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.yaml"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "phi3k.main", "init", name]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert b"caf\\udce9.yaml" in done.stdout
