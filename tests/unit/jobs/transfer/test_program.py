"""What the pod's program lists and sends: every regular file of the folder, and nothing outside it."""

import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phi3k_jobs.transfer import program
from phi3k_jobs.transfer.program import DATA, DONE, END, FAILED, FILE, WORKING, FormError, Frames, Sender, frame

from .making import frames_of, listed, run_program, sent

NOTHING = hashlib.sha256().hexdigest()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder on a claim, beside another one."""
    folder = tmp_path / "runs/demo"
    (folder / "logs").mkdir(parents=True)
    (folder / "report.html").write_bytes(b"<html>")
    (folder / "logs/empty").touch()
    (tmp_path / "runs/other").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def from_start(path: str) -> dict[str, object]:
    return {"path": path, "offset": 0, "sha256": NOTHING}


def kinds(stream: bytes) -> list[int]:
    return [kind for kind, _ in frames_of(stream) if kind != WORKING]


def test_it_imports_nothing_but_the_standard_library() -> None:
    """Its text is sent to whatever image the recipe names."""
    tree = ast.parse(Path(program.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_regular_files_are_listed_with_their_sizes(run: Path) -> None:
    assert [(entry.path, entry.size) for entry in listed(run).files] == [("report.html", 6), ("logs/empty", 0)]


def test_links_and_pipes_are_named_but_not_listed_as_files(run: Path) -> None:
    (run / "out").symlink_to(run.parent.parent / "secret")
    (run / "folder").symlink_to(run.parent / "other")
    os.mkfifo(run / "pipe")
    found = listed(run)
    assert [entry.path for entry in found.files] == ["report.html", "logs/empty"]
    assert found.skipped == ("folder (a link)", "out (a link)", "pipe (not a file)")


def test_a_name_that_is_not_utf_8_is_listed_and_sent(run: Path) -> None:
    (Path(os.fsdecode(os.fsencode(run) + b"/caf\xe9"))).write_bytes(b"au lait")
    found = {entry.path: entry for entry in listed(run).files}
    assert "caf\udce9" in found
    stream = sent(run, [from_start("caf\udce9")])
    assert b"".join(payload for kind, payload in frames_of(stream) if kind == DATA) == b"au lait"


def test_a_run_that_is_not_there_is_refused_with_those_that_are(run: Path) -> None:
    done = run_program("list", str(run.parent / "none"))
    assert done.returncode == 66
    assert done.stderr == b"error: the claim has no run none; it has: demo, other\n"


def test_a_run_that_is_a_link_is_not_followed(run: Path) -> None:
    (run.parent / "linked").symlink_to(run.parent.parent)
    assert run_program("list", str(run.parent / "linked")).returncode == 66


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "logs/../../other", "", ".", "a\0b"])
def test_nothing_outside_the_folder_is_sent(run: Path, path: str) -> None:
    assert kinds(sent(run, [from_start(path)])) == [FAILED, DONE]


@pytest.mark.parametrize("path", ["out", "folder/secret", "pipe", "logs", "none"])
def test_what_is_no_regular_file_is_not_sent(run: Path, path: str) -> None:
    (run / "out").symlink_to(run.parent.parent / "secret")
    (run / "folder").symlink_to(run.parent.parent)
    os.mkfifo(run / "pipe")
    assert kinds(sent(run, [from_start(path), from_start("report.html")])) == [FAILED, FILE, DATA, END, DONE]


def test_an_empty_file_is_sent_without_data(run: Path) -> None:
    assert kinds(sent(run, [from_start("logs/empty")])) == [FILE, END, DONE]


def test_only_the_rest_is_sent_where_the_beginning_is_the_same(run: Path) -> None:
    beginning = {"path": "report.html", "offset": 2, "sha256": hashlib.sha256(b"<h").hexdigest()}
    frames = [each for each in frames_of(sent(run, [beginning])) if each[0] != WORKING]
    assert json.loads(frames[0][1])["offset"] == 2
    assert frames[1] == (DATA, b"tml>")
    assert json.loads(frames[2][1])["sha256"] == hashlib.sha256(b"<html>").hexdigest()


def test_all_is_sent_where_the_beginning_is_another(run: Path) -> None:
    other = {"path": "report.html", "offset": 2, "sha256": hashlib.sha256(b"XX").hexdigest()}
    frames = [each for each in frames_of(sent(run, [other])) if each[0] != WORKING]
    assert json.loads(frames[0][1])["offset"] == 0
    assert frames[1] == (DATA, b"<html>")


class Meddler:
    """Writes frames into a list, and changes the file as soon as its first bytes have gone out."""

    def __init__(self, file: Path, how: str) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self._file, self._how, self._reader = file, how, Frames()

    def __call__(self, piece: bytes) -> None:
        for kind, payload in self._reader.feed(piece):
            self.frames.append((kind, payload))
            if kind == DATA and self._how:
                how, self._how = self._how, ""
                with self._file.open("r+b") as file:
                    if how == "append":
                        file.seek(0, os.SEEK_END)
                        file.write(b"more")
                    elif how == "truncate":
                        file.truncate(10)
                    else:
                        file.write(b"other")


def meddled(run: Path, how: str) -> list[tuple[int, bytes]]:
    file = run / "metrics.jsonl"
    file.write_bytes(bytes(3 * program.BLOCK))
    meddler = Meddler(file, how)
    Sender(str(run), meddler).send_all([from_start("metrics.jsonl")])
    return [each for each in meddler.frames if each[0] != WORKING]


def test_a_file_that_grows_is_sent_as_it_was_and_said_to_have_grown(run: Path) -> None:
    frames = meddled(run, "append")
    assert sum(len(payload) for kind, payload in frames if kind == DATA) == 3 * program.BLOCK
    assert json.loads(frames[-2][1])["grown"] is True


@pytest.mark.parametrize(("how", "why"), [("truncate", "became shorter"), ("overwrite", "was changed")])
def test_a_file_that_is_cut_or_overwritten_is_not_taken_for_whole(run: Path, how: str, why: str) -> None:
    *_, failed, done = meddled(run, how)
    assert (failed[0], done[0]) == (FAILED, DONE)
    assert why in json.loads(failed[1])["why"]


@pytest.mark.parametrize("noise", [b"Welcome to this image!\n", frame(DONE, b"{}") + b"x", b"D\xff\xff\xff\xff"])
def test_output_of_another_program_is_refused(noise: bytes) -> None:
    with pytest.raises(FormError):
        list(Frames().feed(noise))


def test_the_pod_stays_while_it_is_asked_and_ends_when_it_is_told() -> None:
    keeping = subprocess.Popen([sys.executable, "-I", "-S", program.__file__, "keep", "600"])
    try:
        while b"program.py" not in Path(f"/proc/{keeping.pid}/cmdline").read_bytes():
            time.sleep(0.05)
        while b"SigCgt:\t0000000000004" not in Path(f"/proc/{keeping.pid}/status").read_bytes():
            time.sleep(0.05)  # until it has a handler for SIGTERM, which is bit 14
            assert keeping.poll() is None
        keeping.send_signal(signal.SIGTERM)
        assert keeping.wait(timeout=60) == 0
    finally:
        keeping.kill()


def test_the_pod_ends_when_nobody_asks() -> None:
    assert run_program("keep", "0").returncode == 0
