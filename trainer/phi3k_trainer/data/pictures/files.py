"""Reading a picture's file: never a device, never more than allowed, with retries when storage fails."""

import functools
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from phi3k_trainer.errors import DataError
from phi3k_trainer.images.decode import check_signature
from phi3k_trainer.storage import blamed, tried_again

_CHUNK = 1 << 20
_HEAD_BYTES = 4096

Read = Callable[[int, int], bytes]
Reason = Literal["missing_file", "unreadable_file", "too_many_bytes"]


class PictureFileError(DataError):
    """A file that can't hold a usable picture; `reason` is the word under which quarantine counts it."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep `reason` beside the message."""
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True)
class PictureFile:
    """The content of a file, and when it was last changed."""

    data: bytes
    mtime_ns: int


def read_picture_file(
    path: Path,
    max_bytes: int | None,
    *,
    read: Read = os.read,
    wait: Callable[[float], None] = time.sleep,
) -> PictureFile:
    """The whole content of the regular file `path`, which is opened once in each attempt.

    Args:
        path: Links are followed.
        max_bytes: A larger file is not read; None: the file was measured before.
        read: Reads from a file descriptor, as `os.read` does.
        wait: Waits for a number of seconds between attempts.

    Raises:
        PictureFileError: there is no such file, it is a directory, a device or a pipe, it can't be opened, or it is too
            large.
        ImageError: with reason `empty` or `unsupported_format`, by the first bytes.
        UnreadableStorageError: the storage failed in every attempt, for a reason that passes.
    """
    return tried_again(lambda: _attempt(path, max_bytes, read), wait=wait)


def _attempt(path: Path, max_bytes: int | None, read: Read) -> PictureFile:
    try:
        return _read_once(path, max_bytes, read)
    except (FileNotFoundError, NotADirectoryError):
        raise PictureFileError("missing_file", f"{path} does not exist") from None
    except ValueError as error:  # a name that no file can have
        raise PictureFileError("missing_file", f"{str(path)!r} is not a file's name: {error}") from error
    except OSError as error:
        broken = PictureFileError("unreadable_file", f"{path}: {error.strerror or error}")
        raise blamed(error, path, broken) from error


def _read_once(path: Path, max_bytes: int | None, read: Read) -> PictureFile:
    _check_kind(path, path.stat())  # before opening: some devices start an action when they are opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        _check_kind(path, status)
        limit = status.st_size if max_bytes is None else max_bytes
        if status.st_size > limit:
            raise _too_large(path, status.st_size, limit)
        content = bytearray(read(descriptor, _HEAD_BYTES))
        check_signature(bytes(content))
        while chunk := read(descriptor, _CHUNK):
            content += chunk
            if len(content) > limit:
                raise _too_large(path, len(content), limit)
    finally:
        os.close(descriptor)
    return PictureFile(bytes(content), status.st_mtime_ns)


def _check_kind(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        named = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
        raise PictureFileError("unreadable_file", f"{path} is {named}, not a file")
    if status.st_dev in _kernel_devices():
        raise PictureFileError("unreadable_file", f"{path} is a file of /proc or /sys, not one on a disk")


@functools.cache
def _kernel_devices() -> frozenset[int]:
    """The file systems /proc and /sys, whose files look regular, and may block or answer without end."""
    return frozenset(place.stat().st_dev for place in (Path("/proc"), Path("/sys")) if place.is_dir())


def _too_large(path: Path, size: int, limit: int) -> PictureFileError:
    return PictureFileError("too_many_bytes", f"{path} has {size:,} bytes, more than data.max_bytes = {limit:,}")
