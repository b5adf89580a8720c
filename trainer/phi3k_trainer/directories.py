"""Directories that appear complete or not at all, and removal of what a killed process left behind."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phi3k_trainer.files import open_regular

_SUFFIX = ".unfinished"
_LOCK = ".lock"
"""Name of a lock file in an unfinished directory. The process that writes there holds it until it ends."""


@contextmanager
def new_directory(destination: Path) -> Iterator[Path]:
    """A directory to write to, which takes the place of `destination` when the block has ended.

    Until then it lies beside it, under a name that nothing had before. What a killed process left there on the way to
    the same destination is removed; what else lies there is neither written to nor removed. The destination may be an
    empty directory by then, or nothing.

    Raises:
        OSError: it can't be made, or something else has the destination's name.
    """
    _remove_abandoned(destination)
    unfinished = _unfinished_name(destination)
    unfinished.mkdir(parents=True)
    lock = open_regular(unfinished / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        try_lock(lock)
        yield unfinished
        (unfinished / _LOCK).unlink()
        unfinished.rename(destination)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(lock)


def discard(directory: Path) -> None:
    """Remove a directory. It is renamed first, so that a kill leaves no half of it under its name. Raises OSError."""
    doomed = _unfinished_name(directory)
    directory.rename(doomed)
    (doomed / _LOCK).touch()
    shutil.rmtree(doomed)


def _unfinished_name(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.{secrets.token_hex(8)}{_SUFFIX}")


def try_lock(descriptor: int) -> bool | None:
    """Whether the lock on a file was free and is now held; None on a file system without locks. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return None
    return True


def _remove_abandoned(destination: Path) -> None:
    """Remove the unfinished directories of dead processes: those with our name and a lock that nobody holds."""
    own = re.compile(rf"\.{re.escape(destination.name)}\.[0-9a-f]{{16}}{re.escape(_SUFFIX)}")
    for path in destination.parent.glob(f".*{_SUFFIX}"):
        if own.fullmatch(path.name) and not path.is_symlink() and os.access(path / _LOCK, os.R_OK | os.W_OK):
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                if try_lock(lock):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
