"""A picture's file is read as a file: no device, no pipe, no more than allowed, and again when storage falters."""

import errno
import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from phi3k_trainer.data.dataset import prepare_dataset
from phi3k_trainer.data.encoding import Encoder
from phi3k_trainer.data.pictures.files import PictureFileError, read_picture_file
from phi3k_trainer.data.pictures.store import Index, Store
from phi3k_trainer.data.pictures.verifying import Failure, Picture, PictureVerifier
from phi3k_trainer.errors import UnreadableStorageError
from phi3k_trainer.model.tiny import tiny_config
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe.model import TinySection
from phi3k_trainer.storage import WAITS_SECONDS
from tests.unit.trainer.data.making import png, recipe, write_jsonl, write_picture, write_products


def verify(path: Path, store: Path, max_bytes: int = 1_000_000) -> Picture | Failure:
    return PictureVerifier(Store(store), max_pixels=10**6, num_crops=4, max_bytes=max_bytes).file(path)


def test_a_file_is_read_whole_with_its_time(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", 1)
    link = tmp_path / "link.png"
    link.symlink_to(path)
    for name in (path, link):
        file = read_picture_file(name, 10_000)
        assert (file.data, file.mtime_ns) == (png(1), path.stat().st_mtime_ns)


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "f.png")
    return folder / "f.png"


def listening(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "s"))
    return folder / "s"


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def broken(folder: Path) -> Path:
    (folder / "broken").symlink_to(folder / "nowhere")
    return folder / "broken"


def sparse(folder: Path) -> Path:
    with (folder / "sparse.png").open("wb") as file:
        file.write(png(1))
        file.truncate(1 << 40)
    return folder / "sparse.png"


def hollow(folder: Path) -> Path:
    with (folder / "hollow.png").open("wb") as file:
        file.truncate(1_000_000)
    return folder / "hollow.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: Path("/dev/zero"), "unreadable_file"),
        (lambda _: Path("/dev/urandom"), "unreadable_file"),
        (lambda _: Path("/dev/stdin"), "unreadable_file"),
        (lambda _: Path("/proc/kmsg"), "unreadable_file"),
        (lambda _: Path("/proc/self/mem"), "unreadable_file"),
        (lambda _: Path("/proc/self/environ"), "unreadable_file"),
        (lambda folder: folder, "unreadable_file"),
        (lambda folder: folder / ("a" * 300), "unreadable_file"),
        (lambda folder: folder / "nul\0.png", "missing_file"),
        (lambda folder: folder / "half \ud800.png", "missing_file"),
        (lambda folder: folder / "absent.png", "missing_file"),
        (lambda folder: write_picture(folder / "a.png", 1) / "below-a-file", "missing_file"),
        (broken, "missing_file"),
        (loop, "unreadable_file"),
        (fifo, "unreadable_file"),
        (listening, "unreadable_file"),
        (sparse, "too_many_bytes"),
        (hollow, "unsupported_format"),
    ],
)
def test_what_is_no_picture_file_is_one_rejection_at_once(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    started = time.monotonic()
    found = verify(make(tmp_path), tmp_path / "store")
    assert isinstance(found, Failure)
    assert found.reason == reason
    assert len(found.detail) < 600
    assert time.monotonic() - started < 2


def test_a_file_of_exactly_the_cap_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", 1)
    size = path.stat().st_size
    assert isinstance(verify(path, tmp_path / "store", size), Picture)
    refused = verify(path, tmp_path / "store", size - 1)
    assert isinstance(refused, Failure)
    assert f"data.max_bytes = {size - 1:,}" in refused.detail


def test_a_file_that_grows_while_it_is_read_ends_at_the_cap(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", 1)

    def endless(descriptor: int, size: int) -> bytes:
        return os.read(descriptor, size) or bytes(size)

    with pytest.raises(PictureFileError, match=r"data\.max_bytes"):
        read_picture_file(path, 5_000_000, read=endless)


class Storage:
    """Reads as the disk does, after failing a number of times."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times, self.waited = number, times, list[float]()

    def read(self, descriptor: int, size: int) -> bytes:
        if self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return os.read(descriptor, size)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN])
@pytest.mark.parametrize("times", [1, len(WAITS_SECONDS)])
def test_a_read_that_failed_is_tried_again_after_growing_pauses(tmp_path: Path, number: int, times: int) -> None:
    storage = Storage(number, times)
    file = read_picture_file(write_picture(tmp_path / "a.png", 1), None, read=storage.read, wait=storage.waited.append)
    assert file.data == png(1)
    assert storage.waited == list(WAITS_SECONDS[:times])


def test_storage_that_keeps_failing_is_not_the_pictures_fault(tmp_path: Path) -> None:
    storage = Storage(errno.EIO, 99)
    with pytest.raises(UnreadableStorageError, match=r"a\.png can't be read: Input/output error") as caught:
        read_picture_file(write_picture(tmp_path / "a.png", 1), None, read=storage.read, wait=storage.waited.append)
    assert caught.value.exit_code >= 128  # what a cluster tries again


def test_an_error_that_does_not_pass_is_not_tried_again(tmp_path: Path) -> None:
    storage = Storage(errno.EACCES, 1)
    with pytest.raises(PictureFileError, match="Permission denied"):
        read_picture_file(write_picture(tmp_path / "a.png", 1), None, read=storage.read, wait=storage.waited.append)
    assert storage.waited == []


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files that can't be opened for now, as on a network file system whose server is away."""
    names: set[str] = set()
    really_open = os.open

    def open_unless_stale(path: str | Path, flags: int, *rest: int, **options: int) -> int:
        if Path(os.fsdecode(path)).name in names:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_unless_stale)
    monkeypatch.setattr("phi3k_trainer.storage.WAITS_SECONDS", (0.0,))
    return names


def test_no_row_is_set_aside_for_storage_that_failed_while_the_data_was_prepared(
    tmp_path: Path, stale: set[str]
) -> None:
    chosen = recipe(tmp_path / "cache", source="jsonl", path=str(write_products(tmp_path, 4)), error_budget=1.0)
    stale.add("2.png")
    with pytest.raises(UnreadableStorageError, match=r"2\.png"):
        prepare_dataset(chosen, tmp_path / "run")
    stale.clear()
    assert len(prepare_dataset(chosen, tmp_path / "run").train) == 4


@pytest.mark.parametrize("times", [1, 9])
def test_a_table_is_read_again_from_its_start_and_never_counted_as_bad_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    storage, really_open = Storage(errno.EIO, times), pa.input_stream

    def open_on_failing_storage(source: str) -> object:
        with Path(os.devnull).open("rb") as nothing:
            storage.read(nothing.fileno(), 1)
        return really_open(source)

    monkeypatch.setattr(pa, "input_stream", open_on_failing_storage)
    monkeypatch.setattr("phi3k_trainer.storage.WAITS_SECONDS", (0.0, 0.0))
    chosen = recipe(tmp_path / "cache", source="jsonl", path=str(write_products(tmp_path, 4)))
    if times == 1:
        assert len(prepare_dataset(chosen, None).train) == 4
    else:
        with pytest.raises(UnreadableStorageError, match=r"products\.jsonl can't be read: .*, in each of 3 attempts"):
            prepare_dataset(chosen, None)


def test_storage_that_fails_in_training_is_not_bad_data(tmp_path: Path, stale: set[str]) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "Coat", "price": 1, "image": "a.png"}])
    write_picture(tmp_path / "a.png", 1)
    (example,) = prepare_dataset(recipe(tmp_path / "cache", source="jsonl", path=str(path)), None).train
    tokenizer = train_tokenizer(["What colour?", "It is green."], 300)
    config = tiny_config(TinySection(vocabulary_size=300, patch_size=84), tokenizer)
    encoder = Encoder(tokenizer, config, num_crops=4, max_pixels=10**6)
    stale.add("a.png")
    with pytest.raises(UnreadableStorageError):
        encoder.encode(example)
    stale.clear()
    assert len(encoder.encode(example).images) == 1


def test_a_picture_that_goes_away_while_it_is_looked_at_is_one_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_products(tmp_path, 3)
    really = PictureVerifier.body

    def and_gone(self: PictureVerifier, data: bytes) -> Picture | Failure:
        (tmp_path / "images/1.png").unlink(missing_ok=True)
        return really(self, data)

    monkeypatch.setattr(PictureVerifier, "body", and_gone)
    chosen = recipe(tmp_path / "cache", source="jsonl", path=str(table), error_budget=1.0)
    assert len(prepare_dataset(chosen, None).train) in (2, 3)


def test_what_an_earlier_version_found_good_is_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(1)[:-30] + png(1)[-12:])
    Index(tmp_path / "store/pictures").put(hashlib.sha256(path.read_bytes()).hexdigest(), {"width": 40, "height": 30})
    assert isinstance(verify(path, tmp_path / "store"), Failure)


def test_an_exception_of_its_own_is_that_pictures_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_decoder(data: bytes, use: object, *, max_pixels: int) -> None:
        raise LookupError("nobody expected this")

    monkeypatch.setattr("phi3k_trainer.data.pictures.verifying.use_decoded", broken_decoder)
    found = verify(write_picture(tmp_path / "a.png", 1), tmp_path / "store")
    assert isinstance(found, Failure)
    assert found.transient
    assert "a.png: LookupError: nobody expected this" in found.detail
