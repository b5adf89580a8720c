"""What a push leaves in the folder: these files, whole, and no others; wherever it was cut, the next one continues."""

import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi3k_jobs.api.executing import LostError, ProgramError
from phi3k_jobs.transfer import program, push
from phi3k_jobs.transfer.program import BLOCK, name_of
from phi3k_jobs.transfer.push import LocalFile, Pushed, bring
from phi3k_trainer.errors import MissingInputError, StorageError, UnavailableError


class Process:
    """The pod's program as a process of this machine, which can be killed after so many bytes."""

    def __init__(self, process: "subprocess.Popen[bytes]", lasts: int, meddle: Callable[[], None]) -> None:
        self._process, self._lasts, self._meddle = process, lasts, meddle

    def write(self, content: bytes) -> bytes:
        assert self._process.stdin is not None
        self._meddle()
        try:
            self._process.stdin.write(content[: max(self._lasts, 0)])
        except BrokenPipeError:
            _, errors = self._process.communicate()
            raise ProgramError(errors.decode(), self._process.returncode) from None
        self._lasts -= len(content)
        if self._lasts < 0:
            self._process.kill()
            raise LostError("the pod was killed")
        return b"".join(iter(self._arrived, b""))

    def output(self) -> Iterator[bytes]:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 65_536):
            yield piece

    def _arrived(self) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 0)
        return os.read(self._process.stdout.fileno(), 65_536) if ready else b""


class Pod:
    """Starts the program beside a folder; each start lasts as many bytes as the next of `lives`, then for ever."""

    def __init__(self, folder: Path, *lives: int, meddle: Callable[[], None] = lambda: None) -> None:
        self.folder, self._lives, self._meddle = folder, list(lives), meddle

    @contextmanager
    def __call__(self) -> Iterator[Process]:
        command = [sys.executable, "-I", "-S", program.__file__, "receive", str(self.folder)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as process:
            try:
                yield Process(process, self._lives.pop(0) if self._lives else 2**60, self._meddle)
            finally:
                process.kill()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "PAUSE_SECONDS", 0.0)


def local(folder: Path) -> list[LocalFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [LocalFile(name_of(os.fsencode(path.relative_to(folder))), path) for path in paths]


def brought(pod: Pod, here: Path) -> Pushed:
    return bring(pod, "/cache/pushed/own", local(here), lambda *_: None, lambda _: None)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    (folder / "pictures/new").mkdir(parents=True)
    (folder / "products.csv").write_bytes(b"title,picture\n")
    (folder / "pictures/cape.jpg").write_bytes(random.Random(0).randbytes(3 * BLOCK))
    (folder / "pictures/new/same.jpg").write_bytes((folder / "pictures/cape.jpg").read_bytes())
    (folder / "pictures/empty.jpg").touch()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "claim/pushed/own"


def test_the_folder_holds_the_files_and_nothing_else(here: Path, there: Path) -> None:
    done = brought(Pod(there), here)
    assert content(there) == content(here)
    assert (done.files, done.sent, done.removed) == (4, done.size, 0)


def test_what_is_there_is_not_sent_again(here: Path, there: Path) -> None:
    brought(Pod(there), here)
    (here / "pictures/cape.jpg").write_bytes(b"new")
    assert brought(Pod(there), here).sent == 3
    assert content(there) == content(here)


def test_what_is_no_longer_here_is_removed_there(here: Path, there: Path) -> None:
    brought(Pod(there), here)
    (here / "pictures/new/same.jpg").unlink()
    (here / "pictures/new").rmdir()
    assert brought(Pod(there), here).removed == 1
    assert content(there) == content(here)
    assert not (there / "pictures/new").exists()


@pytest.mark.parametrize("seed", range(20))
def test_wherever_the_pod_is_killed_each_file_is_whole_or_absent_and_the_rest_follows(
    here: Path, there: Path, seed: int
) -> None:
    chance = random.Random(seed)
    seen: list[dict[str, bytes]] = []

    def look() -> None:
        seen.append(content(there))

    lives = [chance.randrange(1, 7 * BLOCK) for _ in range(3)]
    brought(Pod(there, *lives, meddle=look), here)
    whole = content(here)
    assert all(whole[name] == data for found in seen for name, data in found.items())
    assert content(there) == whole


def test_a_long_file_continues_where_it_was_cut(here: Path, there: Path) -> None:
    for file in local(here):
        if file.name != "pictures/cape.jpg":
            file.path.unlink()
    done = brought(Pod(there, 2 * BLOCK), here)
    assert 3 * BLOCK < done.sent + BLOCK < 5 * BLOCK
    assert content(there) == content(here)


def test_a_link_on_the_claim_is_not_followed(here: Path, there: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    there.mkdir(parents=True)
    (there / "pictures").symlink_to(outside)
    with pytest.raises(ProgramError, match="pictures: Not a directory"):
        brought(Pod(there), here)
    assert not list(outside.iterdir())


def test_a_file_that_changes_while_it_is_sent_is_sent_again(here: Path, there: Path) -> None:
    lengths = iter([7, 8])

    def change() -> None:
        if (length := next(lengths, 0)) and there.exists():
            (here / "products.csv").write_bytes(b"x" * length)

    brought(Pod(there, meddle=change), here)
    assert content(there) == content(here)


def test_a_file_that_never_stops_changing_is_named(here: Path, there: Path) -> None:
    numbers = iter(range(10**6))

    def change() -> None:
        (here / "products.csv").write_text(f"{next(numbers):06}")

    with pytest.raises(StorageError, match=r"products\.csv: it was changed while it was sent"):
        brought(Pod(there, meddle=change), here)
    assert "products.csv" not in content(there)


def test_a_file_that_is_not_here_is_named(here: Path, there: Path) -> None:
    files = [*local(here), LocalFile("none.csv", here / "none.csv")]
    with pytest.raises(MissingInputError, match=r"none\.csv can't be read: No such file"):
        bring(Pod(there), "/cache/pushed/own", files, lambda *_: None, lambda _: None)


def test_a_name_that_is_not_utf_8_arrives(here: Path, there: Path) -> None:
    Path(os.fsdecode(os.fsencode(here) + b"/caf\xe9.jpg")).write_bytes(b"au lait")
    brought(Pod(there), here)
    assert content(there) == content(here)


def test_a_pod_that_is_killed_again_and_again_is_given_up(here: Path, there: Path) -> None:
    with pytest.raises(UnavailableError, match="the same command continues"):
        brought(Pod(there, *[1] * 10), here)
