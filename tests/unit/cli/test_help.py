"""What `--help` shows: verbs in groups, and only what a user can read."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from click.testing import CliRunner

from phi3k.main import app

PROGRAM: Any = typer.main.get_command(app)


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The program, its groups and its verbs, by the words that name them."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*path, name))


def shown(*words: str) -> str:
    result = CliRunner().invoke(PROGRAM, [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", list(verbs(PROGRAM)), ids=" ".join)
def test_no_default_is_shown_as_python_writes_it(path: tuple[str, ...]) -> None:
    assert "<class" not in shown(*path)


def test_the_verbs_are_grouped_by_where_they_work() -> None:
    text = shown()
    groups = [text.index(title) for title in ("Train here", "On a cluster", "Data and recipes")]
    first = [text.index(f"│ {verb} ") for verb in ("train", "submit", "recipe")]
    assert groups[0] < first[0] < groups[1] < first[1] < groups[2] < first[2]
