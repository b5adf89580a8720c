"""Nothing that others wrote reaches the terminal as a control sequence, or as a line that looks like phi3k's."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.terminal import MOST_CHARACTERS, escaped, escaped_json, escaped_line, escaped_message

COMMAND = Path(__file__).parents[3] / "cli" / "phi3k"
HOSTILE = "\x1b]0;PWNED\x07\x1b[2J\nphi3k: all is well\x9b2J\u202e\r"
# What rich itself sends: colours, and what draws a progress bar anew.
OWN = re.compile(r"\x1b\[([0-9;]*m|\?25[lh])|\r?(\x1b\[1A)?\x1b\[2K")


def on_a_terminal(directory: Path, *arguments: str) -> str:
    """What `phi3k` writes to a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "phi3k.main", *arguments],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    process.wait()
    os.close(ours)
    return b"".join(parts).decode()


def assert_harmless(shown: str) -> None:
    assert "PWNED" in shown
    plain = OWN.sub("", shown).replace("\r\n", "\n")
    assert not [character for character in plain if ord(character) < 32 and character not in "\n\t"]
    assert not set("\x7f\x9b\u202e") & set(plain)
    assert not [line for line in plain.splitlines() if line.startswith("phi3k: all is well")]


def test_a_key_of_a_recipe(tmp_path: Path) -> None:
    recipe = "apiVersion: phi3k/v1\nname: x\nmodel: {base: tiny}\ndata: {source: sample, answer: a}\n"
    (tmp_path / "recipe.yaml").write_text(recipe + f"{json.dumps(HOSTILE)}: 1\n")
    shown = on_a_terminal(tmp_path, "recipe", "check", "recipe.yaml")
    assert_harmless(shown)
    assert "unknown key" in shown


def test_a_column_of_a_table(tmp_path: Path) -> None:
    data = "data: {source: csv, path: t.csv, answer: '{c}', image: null}\n"
    (tmp_path / "recipe.yaml").write_text(f"apiVersion: phi3k/v1\nname: x\nmodel: {{base: tiny}}\n{data}")
    column = HOSTILE.replace("\r", "").replace("\n", "")
    (tmp_path / "t.csv").write_text(f"{column},b\n1,2\n", encoding="utf-8")
    shown = on_a_terminal(tmp_path, "data", "check", "recipe.yaml", "--set", f"data.cache={tmp_path}/cache")
    assert_harmless(shown.replace("\r", ""))  # the progress bar's


def test_the_command_prints_through_one_place() -> None:
    """A verb that printed by itself would print raw."""
    others = [path for path in COMMAND.rglob("*.py") if path.name not in ("printing.py", "main.py")]
    assert [path.name for path in others if re.search(r"typer\.echo\(|(?<![_.\w])print\(", path.read_text())] == []


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", escaped(text)) is None
    assert "\n" not in escaped_line(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_means_the_same(text: str) -> None:
    assert json.loads(escaped_json(json.dumps([text], ensure_ascii=False))) == [text]


@given(st.text("a\n ", max_size=30))
def test_further_lines_of_a_message_are_indented(text: str) -> None:
    assert all(line.startswith("  ") for line in escaped_message(text).split("\n")[1:])


@pytest.mark.parametrize("text", ["a" * 10**6, "a\n  " * 10**5])
def test_a_message_has_a_bounded_length(text: str) -> None:
    shown = escaped_message(text)
    assert len(shown) < MOST_CHARACTERS + 50
    assert "more characters" in shown
