"""A content-addressed store of pictures on disk, shared by concurrent processes."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3k_trainer.errors import StorageError


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put `data` at `path` in one step: temporary file beside it, fsync, rename.

    A reader sees the old file or the whole new one; when writing fails nothing is left behind.
    `durable=False` leaves the fsync out, for files that are only a memo and may be lost with the power.

    Raises:
        StorageError: the disk is full (saying how much space is missing) or refuses the write.
    """
    # Not tempfile: its files are private to this user, the store is shared as far as the umask says.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _storage_error(path, len(data), error) from error
    if durable:
        _fsync_directory(path.parent)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(path: Path, needed: int, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        existing = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(existing).free
        return StorageError(
            f"The disk is full: writing {path} needs {needed:,} bytes, {existing} has {free:,} free, so at least "
            f"{max(needed - free, 1):,} are missing. Free space there, or set data.cache to a larger disk."
        )
    if error.errno == errno.EFBIG:
        return StorageError(f"{path} of {needed:,} bytes is larger than the file size limit (ulimit -f) allows.")
    return StorageError(f"Can't write {path}: {error.strerror or error}. Check data.cache and its permissions.")


class Index:
    """Small JSON facts by name, one file each, so that concurrent processes need no lock.

    Facts are memos: one that a power cut has torn counts as not there.
    """

    def __init__(self, root: Path) -> None:
        """Facts live under `root`, which need not exist yet."""
        self._root = root

    def get(self, name: str) -> dict[str, Any] | None:
        """The fact noted under `name`, if there is one."""
        try:
            fact = json.loads(self._path(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return fact if isinstance(fact, dict) else None

    def put(self, name: str, fact: Mapping[str, Any]) -> None:
        """Note `fact` under `name`, replacing an older one."""
        write_atomically(self._path(name), json.dumps(fact, ensure_ascii=False).encode(), durable=False)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._root / digest[:2] / f"{digest}.json"


class Store:
    """Pictures by the SHA-256 of their bytes, where each URL led, and which pictures were found to be good."""

    def __init__(self, root: Path) -> None:
        """The store lives under `root`, which need not exist yet."""
        self.root = root
        self.urls = Index(root / "urls")
        """URL -> {"url", "sha256"}: what makes fetching resume."""
        self.pictures = Index(root / "pictures")
        """SHA-256 -> {"width", "height"} of a picture that was decoded in full without a complaint."""

    def path(self, sha256: str) -> Path:
        """Where the picture with this hash is, or would be."""
        return self.root / "objects" / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its SHA-256. Putting the same bytes again costs one look at the disk.

        Raises:
            StorageError: the disk is full or refuses the write.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        if not (path.exists() and path.stat().st_size == len(data)):
            write_atomically(path, data)
        return sha256
