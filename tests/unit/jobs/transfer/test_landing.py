"""Files arrive whole and verified or not at all, however the stream is cut, and a fetch continues what was begun."""

import fcntl
import hashlib
import json
import os
import random
import threading
from pathlib import Path

import pytest

from phi3k_jobs.transfer.landing import (
    ORIGIN,
    UNFINISHED,
    Landing,
    check_manifests,
    check_space,
    landing_in,
)
from phi3k_jobs.transfer.parts import Entry
from phi3k_jobs.transfer.program import BLOCK, DATA, END, FILE, FormError, described, frame
from phi3k_trainer.errors import OutputError, StorageError

from .making import entry, frames_of, landing, listed, sent

ORIGINS = {"server": "https://a", "namespace": "team", "claim": "phi3k-runs", "run": "demo"}


def files_in(folder: Path) -> dict[str, bytes]:
    """What has a name of its own there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and UNFINISHED not in path.parts
    }


def random_run(folder: Path, chance: random.Random) -> dict[str, bytes]:
    """Any set of files: empty ones, ones longer than a block, names with anything in them."""
    content = {}
    for number in range(chance.randrange(1, 8)):
        depth = chance.randrange(3)
        name = "".join(chance.choice("ab .\n\u20ac\udce9") for _ in range(4)).strip(". ") or "x"
        path = "/".join([*(f"folder {level}" for level in range(depth)), f"{number}{name}"])
        size = chance.choice([0, 1, 1000, BLOCK, BLOCK + 1, 3 * BLOCK])
        content[path] = chance.randbytes(size)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content[path])
    return content


@pytest.mark.parametrize("seed", range(25))
def test_any_files_arrive_whole_or_not_at_all_wherever_the_stream_is_cut(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    content = random_run(there, chance)
    files = list(listed(there).files)
    assert {file.path for file in files} == content.keys()
    for _ in range(50):
        arriving = landing(here)
        stream = sent(there, arriving.requests(files))
        cut = chance.choice([len(stream), chance.randrange(len(stream) + 1)])
        arriving.receive(frames_of(stream[:cut], piece=chance.choice([7, 4096, 10**7])))
        found = files_in(here)
        assert found.keys() == arriving.arrived.keys()
        assert all(content[path] == whole for path, whole in found.items())
        if cut == len(stream):
            break
    else:
        pytest.fail("never let through")
    assert files_in(here) == content
    assert not arriving.failed


def test_what_is_here_already_is_not_sent_again(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "weights").write_bytes(bytes(BLOCK * 4))
    files = list(listed(there).files)
    for expected in (BLOCK * 4, 0):
        arriving = landing(here)
        arriving.receive(frames_of(sent(there, arriving.requests(files))))
        assert arriving.arrived["weights"].sent == expected


def test_a_file_that_was_cut_continues_where_it_was_cut(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "weights").write_bytes(os.urandom(BLOCK * 4))
    files = list(listed(there).files)
    first = landing(here)
    stream = sent(there, first.requests(files))
    first.receive(frames_of(stream[: BLOCK * 3]))
    assert not files_in(here)
    second = landing(here)
    second.receive(frames_of(sent(there, second.requests(files))))
    assert BLOCK < second.arrived["weights"].sent < 3 * BLOCK
    assert (here / "weights").read_bytes() == (there / "weights").read_bytes()


def test_what_was_begun_of_another_content_is_begun_anew(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "report.html").write_bytes(b"old" * BLOCK)
    files = list(listed(there).files)
    first = landing(here)
    first.receive(frames_of(sent(there, first.requests(files))[: BLOCK * 2]))
    (there / "report.html").write_bytes(b"new" * BLOCK)
    second = landing(here)
    second.receive(frames_of(sent(there, second.requests(files))))
    assert (here / "report.html").read_bytes() == b"new" * BLOCK


def test_a_log_that_has_grown_is_continued(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    for text in (b"one\n", b"one\ntwo\n"):
        (there / "log").write_bytes(text)
        arriving = landing(here)
        arriving.receive(frames_of(sent(there, arriving.requests(listed(there).files))))
        assert arriving.arrived["log"].sent == 4
        assert (here / "log").read_bytes() == text


def test_a_byte_that_changes_on_the_way_is_found(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "weights").write_bytes(b"a" * 1000)
    arriving = landing(here)
    stream = sent(there, arriving.requests(listed(there).files)).replace(b"aaa", b"aba", 1)
    arriving.receive(frames_of(stream))
    assert not files_in(here)
    assert arriving.failed == {"weights": "its content changed on the way"}


@pytest.mark.parametrize(
    "stream",
    [
        described(FILE, path="../outside", size=1, offset=0),
        described(FILE, path="unasked", size=1, offset=0),
        described(FILE, path="a", size=9, offset=5),
        described(FILE, path="a", size=9, offset=0) + described(FILE, path="a", size=9, offset=0),
        frame(FILE, b"no json"),
    ],
)
def test_what_was_not_asked_for_is_refused(tmp_path: Path, stream: bytes) -> None:
    arriving = landing(tmp_path / "here")
    list(arriving.requests([entry("a", 9)]))
    with pytest.raises(FormError):
        arriving.receive(frames_of(stream))
    assert not files_in(tmp_path)


def test_more_than_was_announced_is_not_taken(tmp_path: Path) -> None:
    arriving = landing(tmp_path)
    list(arriving.requests([entry("a", 1)]))
    digest = hashlib.sha256(b"ab").hexdigest()
    start = described(FILE, path="a", size=1, offset=0)
    arriving.receive(frames_of(start + frame(DATA, b"ab") + described(END, sha256=digest, grown=False)))
    assert "a" in arriving.failed
    assert not files_in(tmp_path)


def test_a_disk_that_is_too_small_is_said_before_anything_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"free at least .* MB there, or name another folder with --to"):
        check_space(tmp_path / "new/demo", [entry("weights", 2**60)])


def test_a_full_disk_is_named_and_what_has_arrived_stays(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).mkdir()
    arriving = Landing(tmp_path)
    files = [entry("a", 1), entry("b", 9)]
    list(arriving.requests(files))
    partial = tmp_path / UNFINISHED / hashlib.sha256(b"b").hexdigest()
    partial.symlink_to("/dev/full")
    ended = described(END, sha256=hashlib.sha256(b"x").hexdigest(), grown=False)
    whole = described(FILE, path="a", size=1, offset=0) + frame(DATA, b"x") + ended
    begun = described(FILE, path="b", size=9, offset=0) + frame(DATA, b"x" * 9) + ended
    with pytest.raises(StorageError, match=r"is full: free space there.*the same command continues"):
        arriving.receive(frames_of(whole + begun))
    assert files_in(tmp_path) == {"a": b"x"}


def test_a_folder_says_where_it_comes_from(tmp_path: Path) -> None:
    with landing_in(tmp_path / "demo", ORIGINS, lambda *_: None, print):
        pass
    assert json.loads((tmp_path / "demo" / ORIGIN).read_text()) == ORIGINS
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [ORIGIN]


def test_a_folder_that_was_not_fetched_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    with (
        pytest.raises(OutputError, match="was not fetched: name another folder with --to"),
        landing_in(tmp_path, ORIGINS, lambda *_: None, print),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_folder_that_was_fetched_from_elsewhere_is_left_alone(tmp_path: Path) -> None:
    with landing_in(tmp_path, ORIGINS, lambda *_: None, print):
        pass
    with (
        pytest.raises(OutputError, match="was fetched from elsewhere"),
        landing_in(tmp_path, ORIGINS | {"namespace": "other"}, lambda *_: None, print),
    ):
        pass


def test_of_two_fetches_into_one_folder_the_second_waits(tmp_path: Path) -> None:
    order: list[str] = []
    noticed = threading.Event()

    def second() -> None:
        with landing_in(tmp_path, ORIGINS, lambda *_: None, lambda _: noticed.set()):
            order.append("second")

    waiting = threading.Thread(target=second)
    with landing_in(tmp_path, ORIGINS, lambda *_: None, print):
        waiting.start()
        assert noticed.wait(60)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]
    assert [path.name for path in tmp_path.iterdir()] == [ORIGIN]


def test_the_folder_of_what_is_not_whole_yet_stays_for_the_next_fetch(tmp_path: Path) -> None:
    with landing_in(tmp_path, ORIGINS, lambda *_: None, print):
        (tmp_path / UNFINISHED / "begun").write_bytes(b"x")
    assert (tmp_path / UNFINISHED / "begun").exists()
    with (tmp_path / UNFINISHED / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it


def manifest(**told: bytes) -> bytes:
    return json.dumps(
        {
            f"{name}.json": {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in told.items()
        }
    ).encode()


@pytest.mark.parametrize(
    ("state", "message"),
    [(b"state", ""), (b"STATE", "state.json does not match MANIFEST.json")],
    ids=["whole", "damaged"],
)
def test_a_checkpoint_is_compared_with_its_manifest(tmp_path: Path, state: bytes, message: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    step = there / "checkpoints/step-000002"
    step.mkdir(parents=True)
    (step / "state.json").write_bytes(state)
    (step / "MANIFEST.json").write_bytes(manifest(state=b"state"))
    files: list[Entry] = list(listed(there).files)
    arriving = landing(here)
    arriving.receive(frames_of(sent(there, arriving.requests(files))))
    if not message:
        check_manifests(arriving, files)
        return
    with pytest.raises(StorageError, match=message):
        check_manifests(arriving, files)
