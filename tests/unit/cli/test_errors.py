"""Errors of the command: one message on stderr, a documented exit code, no traceback unless asked for."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import typer

import phi3k.main
from phi3k.main import main


def test_a_mistake_in_a_recipe_ends_with_78_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("apiVersion: phi3k/v1\nname: a\nmodle: {}\n")
    assert main(["recipe", "check", str(recipe)]) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "line 3, modle: unknown key; did you mean model?" in printed.err
    assert "Traceback" not in printed.err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "check", "nosuch.yaml"], debug=True) == 66
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1, 3], ids=["before the verb", "inside", "at the end"])
def test_debug_may_stand_anywhere(place: int) -> None:
    arguments = ["recipe", "check", "nosuch.yaml"]
    arguments.insert(place, "--debug")
    done = subprocess.run(
        [sys.executable, "-m", "phi3k.main", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 66
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["train"], "Missing argument 'RECIPE'"),
        (["train", "demo", "--frob"], "No such option: --frob"),
        (["plan", "demo", "--rows", "x"], "Invalid value for '--rows'"),
        (["plan", "demo", "--gpu", "A100"], "did you mean A100-40GB or A100-80GB?"),
        (["plan", "demo", "--picture", "big"], "should be width x height"),
    ],
)
def test_a_wrong_command_line_ends_with_64(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    assert complaint in capsys.readouterr().err


def test_a_missing_recipe_ends_with_66(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "nosuch.yaml"]) == 66
    complaint = capsys.readouterr().err
    assert "there is no recipe file nosuch.yaml" in complaint
    assert "burberry-lora, burberry-qlora, demo" in complaint


def test_a_run_given_as_a_recipe_is_named_as_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").touch()
    assert main(["plan", str(tmp_path)]) == 66
    assert f"it is a run, whose recipe is {tmp_path / 'recipe.yaml'}" in capsys.readouterr().err


def test_the_help_groups_the_verbs_by_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    headings = [shown.index(heading) for heading in ("Train here", "On a cluster", "Data and recipes")]
    verbs = [shown.index(f"│ {verb} ") for verb in ("train", "submit", "recipe")]
    assert sorted([*headings, *verbs]) == [place for pair in zip(headings, verbs, strict=True) for place in pair]


def test_no_help_shows_a_default_that_is_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert "<class" not in capsys.readouterr().out


@pytest.fixture
def broken_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with one more verb, which fails in a way that nobody has foreseen."""
    app = typer.Typer()

    @app.callback()
    def verbs() -> None:
        """Hold one verb."""

    @app.command()
    def broken() -> None:
        raise RuntimeError("the moon is full")

    monkeypatch.setattr(phi3k.main, "app", app)


@pytest.mark.usefixtures("broken_verb")
def test_an_unforeseen_error_is_one_line_with_the_way_to_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken"]) == 70
    assert capsys.readouterr().err == (
        "phi3k: unexpected RuntimeError: the moon is full. Run again with --debug for details.\n"
    )


def wait_until_it_reads(child: subprocess.Popen[str], fifo: int) -> None:
    """Return once the child has read a byte and sleeps for the next: before that Python may not see a signal."""
    os.write(fifo, b"#")
    while int.from_bytes(fcntl.ioctl(fifo, termios.FIONREAD, bytes(4)), sys.byteorder):
        time.sleep(0.01)
    if sys.platform == "linux":
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.01)
    time.sleep(0.2)


def heed_interrupts() -> None:
    """Undo what a shell does for a job in its background: Python would not see Ctrl-C at all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    fifo = tmp_path / "recipe.yaml"
    os.mkfifo(fifo)  # reading it waits until somebody writes: the command is caught at work
    child = subprocess.Popen(
        [sys.executable, "-m", "phi3k.main", "recipe", "check", str(fifo)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    writer = os.open(fifo, os.O_WRONLY)  # returns once the command has opened it
    wait_until_it_reads(child, writer)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    os.close(writer)
    assert child.returncode == 130
    assert error == "interrupted\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m phi3k.main recipe schema | head -c 10; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # the pipe may hold the whole text before head goes away
