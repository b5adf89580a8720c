"""A folder of this machine into which files are copied: each has another name until it is whole and verified.

runs/demo/fetched.json       where the folder comes from; other folders are not written to
runs/demo/.fetch/<digest>    a file that is not whole yet, named by its path
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from phi3k_jobs.transfer.parts import MANIFEST, Entry
from phi3k_jobs.transfer.program import BLOCK, DATA, END, FAILED, FILE, FormError, path_of
from phi3k_trainer.errors import OutputError, StorageError
from phi3k_trainer.files import decode_json, read_document, write_atomically

ORIGIN = "fetched.json"
UNFINISHED = ".fetch"
_LOCK = "lock"


@dataclass(frozen=True)
class Arrived:
    """A file that is whole."""

    size: int
    sha256: str
    sent: int
    """How many of its bytes were sent now; the others were already here."""
    grown: bool
    """Whether it grew on the claim during the fetch."""


@dataclass
class Landing:
    """A folder that is being filled, and the state of each file."""

    folder: Path
    progress: Callable[[str, int], None] = lambda *_: None
    """Is called with a file's path and how many of its bytes are here."""
    arrived: dict[str, Arrived] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Why a file could not be copied."""
    _offered: dict[str, tuple[Path | None, int, Any]] = field(default_factory=dict)
    """What is already here of the requested files: where, how many bytes, and their SHA-256 to continue."""

    def requests(self, files: Iterable[Entry]) -> Iterator[dict[str, Any]]:
        """Yield the request for each file: its path, and the offset from which it is missing here."""
        self._offered.clear()
        for entry in files:
            here = self.begun(entry)
            size, digest = _digest(here) if here else (0, hashlib.sha256())
            self._offered[entry.path] = here, size, digest
            yield {"path": entry.path, "offset": size, "sha256": digest.hexdigest()}

    def receive(self, frames: Iterable[tuple[int, bytes]]) -> None:
        """Write what arrives; a file gets its name when it is complete and has the SHA-256 of the original.

        Raises:
            FormError: the stream is not the requested one.
            StorageError: this disk is full, or refuses a file.
        """
        file: _Incoming | None = None
        try:
            for kind, payload in frames:
                file = self._take(kind, payload, file)
                if file:
                    self.progress(file.path, file.received)
        except OSError as error:
            raise _storage_error(self.folder, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise FormError(f"unexpected output: {error}") from error
        finally:
            if file:
                with suppress(OSError):
                    file.close()

    def _take(self, kind: int, payload: bytes, file: "_Incoming | None") -> "_Incoming | None":
        """Take one frame while `file` arrives; return the file that arrives after it."""
        if kind == FILE:
            if file:
                raise ValueError(f"{file.path} has no end")
            return self._begin(json.loads(payload))
        if kind == FAILED:
            fields = json.loads(payload)
            self.failed[str(fields["path"])] = str(fields["why"])
            if file:
                file.give_up()
            return None
        if kind == DATA and file:
            file.write(payload)
        elif kind == END and file:
            self._end(file, json.loads(payload))
            return None
        return file

    def place(self, path: str) -> Path:
        """Return where a file belongs."""
        return self.folder / os.fsdecode(path_of(path))

    def begun(self, entry: Entry) -> Path | None:
        """Return the file that may hold the beginning of the wanted one, or all of it."""
        for here in (self.place(entry.path), self._partial(entry.path)):
            if here.is_file() and not here.is_symlink() and 0 < here.stat().st_size <= entry.size:
                return here
        return None

    def _partial(self, path: str) -> Path:
        return self.folder / UNFINISHED / hashlib.sha256(path_of(path)).hexdigest()

    def _begin(self, fields: dict[str, Any]) -> "_Incoming":
        path, size, offset = str(fields["path"]), int(fields["size"]), int(fields["offset"])
        place, partial = self.place(path), self._partial(path)
        here, offered, digest = self._offered[path]
        if not offset:
            return _Incoming(path, partial, size, 0, partial.open("wb"), hashlib.sha256())
        if offset != offered:
            raise ValueError(f"{path} from byte {offset} on, of which {offered} are here")
        if here == place and offset == size:
            return _Incoming(path, place, size, offset, None, digest)
        if here == place:
            shutil.copyfile(place, partial)
        handle = partial.open("r+b")
        handle.seek(offset)
        return _Incoming(path, partial, size, offset, handle, digest)

    def _end(self, file: "_Incoming", fields: dict[str, Any]) -> None:
        file.close()
        sha256 = file.digest.hexdigest()
        if file.received != file.size or sha256 != fields["sha256"]:
            file.give_up()
            self.failed[file.path] = "its content changed on the way"
            return
        if file.handle:
            place = self.place(file.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.here.replace(place)
        self.failed.pop(file.path, None)
        self.arrived[file.path] = Arrived(file.size, sha256, file.size - file.offset, bool(fields["grown"]))


@dataclass
class _Incoming:
    """A file of which the rest is arriving."""

    path: str
    here: Path
    size: int
    offset: int
    handle: IO[bytes] | None
    """None: all of it is here already."""
    digest: Any
    received: int = field(init=False)

    def __post_init__(self) -> None:
        self.received = self.offset

    def write(self, block: bytes) -> None:
        if self.handle is None:
            raise ValueError(f"more of {self.path} than was wanted")
        self.handle.write(block)
        self.digest.update(block)
        self.received += len(block)

    def close(self) -> None:
        """Write what was received to the disk."""
        if self.handle and not self.handle.closed:
            try:
                self.handle.flush()
                os.fsync(self.handle.fileno())
            finally:
                self.handle.close()

    def give_up(self) -> None:
        """Forget a file that changed while it was read."""
        if self.handle:
            self.handle.close()
            self.here.unlink()


def _digest(path: Path) -> tuple[int, Any]:
    """Return how many bytes a file holds, and their SHA-256 to continue."""
    size, digest = 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size += len(block)
            digest.update(block)
    return size, digest


def _storage_error(folder: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk of {folder} is full: free space there, or name another folder with --to. What has arrived "
            "is kept, and the same command continues"
        )
    return StorageError(f"can't write to {folder}: {error.strerror or error}")


@contextmanager
def landing_in(
    folder: Path, origin: dict[str, str], progress: Callable[[str, int], None], notice: Callable[[str], None]
) -> Iterator[Landing]:
    """A folder to fill in the block, made where it is missing; another fetch into it waits until this one ends.

    Raises:
        OutputError: the folder has other content than files fetched from `origin`.
        StorageError: it can't be made.
    """
    unfinished = folder / UNFINISHED
    try:
        _check_origin(folder, origin)
        lock = _locked(unfinished, lambda: notice(f"another fetch is writing to {folder}: waiting until it ends"))
    except OSError as error:
        raise StorageError(f"can't write to {folder}: {error.strerror or error}") from error
    try:
        if not (folder / ORIGIN).exists():
            write_atomically(folder / ORIGIN, (json.dumps(origin, indent=2) + "\n").encode(), "checkpoint.directory")
        yield Landing(folder, progress)
    finally:
        # Nobody else is writing here. Incomplete files are kept for the next fetch.
        with suppress(OSError):
            if [each.name for each in unfinished.iterdir()] == [_LOCK]:
                shutil.rmtree(unfinished)
        os.close(lock)


def _check_origin(folder: Path, origin: dict[str, str]) -> None:
    if not folder.exists() or not any(each.name != UNFINISHED for each in folder.iterdir()):
        return
    try:
        before = decode_json(read_document(folder / ORIGIN))
    except (OSError, ValueError):
        raise OutputError(f"{folder} was not fetched: name another folder with --to") from None
    if before != origin:
        raise OutputError(f"{folder} was fetched from elsewhere ({before}): name another folder with --to")


def _locked(unfinished: Path, wait: Callable[[], None]) -> int:
    """Return the descriptor of the folder's lock, held. Raises OSError."""
    while True:
        unfinished.mkdir(parents=True, exist_ok=True)
        lock = os.open(unfinished / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        # The process that held it before may have removed it with the folder.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), (unfinished / _LOCK).stat()):
                return lock
        os.close(lock)


def check_space(folder: Path, files: Sequence[Entry]) -> None:
    """Refuse files that can't fit before any is requested.

    Raises:
        StorageError: the disk has too little space for the files that are not here yet.
    """
    here = Landing(folder)
    begun = {entry.path: found.stat().st_size for entry in files if (found := here.begun(entry))}
    needed = sum(entry.size - begun.get(entry.path, 0) for entry in files)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise StorageError(
            f"the disk of {folder} has {free / 1e6:,.1f} MB free, but {needed / 1e6:,.1f} MB are needed: free at "
            f"least {(needed - free) / 1e6:,.1f} MB there, or name another folder with --to"
        )


def check_manifests(landing: Landing, files: Sequence[Entry]) -> None:
    """Compare each file of a checkpoint with its manifest, which was written when it was saved.

    Raises:
        StorageError: one has another size or SHA-256: it is damaged on the claim.
    """
    for entry in files:
        if not entry.path.endswith(f"/{MANIFEST}") or entry.path not in landing.arrived:
            continue
        folder = entry.path.removesuffix(MANIFEST)
        try:
            expected = {
                str(name): (int(fields["num_bytes"]), str(fields["sha256"]))
                for name, fields in decode_json(read_document(landing.place(entry.path))).items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{entry.path} is damaged on the claim: {error}") from error
        for name, (size, sha256) in expected.items():
            found = landing.arrived.get(folder + name)
            if found is None or (found.size, found.sha256) != (size, sha256):
                raise StorageError(
                    f"{folder}{name} does not match {MANIFEST}: the checkpoint is damaged on the claim, or was "
                    "replaced while it was fetched. The same command fetches the newest one"
                )
