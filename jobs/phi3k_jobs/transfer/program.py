"""The program of the transfer pod, and the protocol in which it and this side exchange files.

Its text is sent with the pod, so both sides always have the same version, whatever the image contains. That is why it
imports nothing but the standard library. It follows no link and opens nothing outside the folder it is given.

    program.py keep IDLE_SECONDS     waits until there was no request for this many seconds
    program.py list FOLDER           prints the files in the folder, as one line of JSON
    program.py send FOLDER           reads one line of JSON with the wanted files, and writes them as frames
    program.py receive FOLDER        reads one line of JSON with the files that the folder should hold, writes which
                                     it lacks, reads these as frames, and removes all others
"""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

MISSING_INPUT_EXIT_CODE = 66
STORAGE_EXIT_CODE = 74

FILE, DATA, END, FAILED, NEEDED, WORKING, DONE = b"FDEXNWZ"
"""Kinds of frame: a file begins, its bytes, it is complete, it can't be read, it is needed, still working, the end."""
HEAD = struct.Struct(">BI")
"""Kind and length of what follows."""
MOST_BYTES = 2**20
"""Most bytes of a frame; a longer one was not written by this program."""
BLOCK = 2**18
NEWS_SECONDS = 1.0
"""While files are compared and nothing is sent, a frame reports this so often."""
LOCK = "lock"
ALIVE = "/tmp/phi3k-transfer"
"""A file that is touched while requests are served."""


class FormError(Exception):
    """What was read was not written by this program."""


class _ChangedError(Exception):
    """A file changed while it was read."""


class Frames:
    """Reads frames out of a stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._rest = bytearray()
        self.is_done = False

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the frames that are whole after `piece`.

        Raises:
            FormError: the stream is not one of this program.
        """
        self._rest += piece
        while len(self._rest) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._rest)
            if kind not in (FILE, DATA, END, FAILED, NEEDED, WORKING, DONE) or length > MOST_BYTES:
                raise FormError(f"unexpected output: {bytes(self._rest[:80])!r}")
            if len(self._rest) < HEAD.size + length:
                return
            payload = bytes(self._rest[HEAD.size : HEAD.size + length])
            del self._rest[: HEAD.size + length]
            yield kind, payload
            if kind == DONE:
                self.is_done = True
                break
        if self.is_done and self._rest:
            raise FormError(f"unexpected output after the end: {bytes(self._rest[:80])!r}")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEAD.pack(kind, len(payload)) + payload


def described(kind: int, **fields: Any) -> bytes:
    """Return a frame that holds a JSON object."""
    return frame(kind, json.dumps(fields).encode())


def name_of(path: bytes) -> str:
    """Return a name as JSON carries it: bytes that are not UTF-8 become halves of surrogate pairs."""
    return path.decode("utf-8", "surrogateescape")


def path_of(name: str) -> bytes:
    """Return the bytes of a name.

    Raises:
        ValueError: a file below a folder can't have this name.
    """
    path = name.encode("utf-8", "surrogateescape")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise ValueError(f"{name!r} is not the name of a file in a folder")
    return path


def listing(folder: str) -> dict[str, Any]:
    """Return the regular files below `folder` with sizes and times, and everything else there. Raises OSError."""
    files: list[dict[str, Any]] = []
    others: list[dict[str, str]] = []
    root = os.fsencode(folder)

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(root, onerror=refuse):
        for name in sorted([*names, *(each for each in folders if os.path.islink(os.path.join(place, each)))]):
            path = os.path.join(place, name)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue  # removed meanwhile
            relative = name_of(os.path.relpath(path, root))
            if stat.S_ISREG(found.st_mode):
                files.append({"path": relative, "size": found.st_size, "changed": found.st_mtime})
            else:
                others.append({"path": relative, "what": "a link" if stat.S_ISLNK(found.st_mode) else "not a file"})
    return {"files": files, "others": others}


@contextlib.contextmanager
def folder_of(root: int, path: bytes, *, make: bool = False) -> Iterator[tuple[int, bytes]]:
    """The descriptor of the folder that a file lies in below an open one, and its name there. Raises OSError.

    No link on the way is followed. With `make`, folders that are missing are made.
    """
    *folders, name = path.split(b"/")
    place = os.dup(root)
    try:
        for each in folders:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(each, dir_fd=place)
            inner = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        yield place, name
    finally:
        os.close(place)


def opened(root: int, path: bytes) -> int:
    """Return a descriptor of a regular file below an open folder; no link is followed. Raises OSError."""
    with folder_of(root, path) as (place, name):
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(0, "it is not a regular file")
    return found


class _Side:
    """What both directions do: hash files of one folder, and report regularly that they still work."""

    def __init__(self, folder: str, write: Callable[[bytes], Any]) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._write = write
        self._next_news = 0.0

    def _report_work(self) -> None:
        if time.monotonic() > self._next_news:
            self._write(frame(WORKING))
            self._next_news = time.monotonic() + NEWS_SECONDS

    def _blocks(self, file: BinaryIO, count: int) -> Iterator[bytes]:
        while count:
            block = file.read(min(BLOCK, count))
            if not block:
                raise _ChangedError("it became shorter while it was read")
            count -= len(block)
            yield block

    def _digest(self, file: BinaryIO, count: int) -> Any:
        """Return the SHA-256 of the first bytes of a file, to continue."""
        file.seek(0)
        digest = hashlib.sha256()
        for block in self._blocks(file, count):
            digest.update(block)
            self._report_work()
        return digest


class Sender(_Side):
    """Writes files below one folder as frames."""

    def send_all(self, wanted: list[dict[str, Any]]) -> None:
        """Send each file, from the offset up to which the other side has the same bytes by their SHA-256."""
        for entry in wanted:
            try:
                self._send(entry)
            except (OSError, ValueError, _ChangedError) as error:
                why = getattr(error, "strerror", None) or str(error)
                self._write(described(FAILED, path=entry["path"], why=why))
        self._write(described(DONE, files=len(wanted)))

    def _send(self, entry: dict[str, Any]) -> None:
        descriptor = opened(self._folder, path_of(entry["path"]))
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            offset = int(entry["offset"])
            digest = self._digest(file, offset) if offset <= before.st_size else hashlib.sha256()
            if digest.hexdigest() != entry["sha256"]:
                offset, digest = 0, hashlib.sha256()
            file.seek(offset)
            self._write(described(FILE, path=entry["path"], size=before.st_size, offset=offset))
            for block in self._blocks(file, before.st_size - offset):
                digest.update(block)
                self._write(frame(DATA, block))
            grown = self._has_grown(file, before, digest.hexdigest())
            self._write(described(END, sha256=digest.hexdigest(), grown=grown))

    def _has_grown(self, file: BinaryIO, before: os.stat_result, sha256: str) -> bool:
        """Return whether something was added meanwhile; any other change is found by reading again."""
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            return False
        if self._digest(file, before.st_size).hexdigest() != sha256:
            raise _ChangedError("it was changed while it was read")
        return after.st_size > before.st_size


class Receiver(_Side):
    """Fills one folder: a file gets its name when it is complete and has the announced SHA-256.

    Until then it is in a folder beside it, named by that SHA-256, where the next attempt continues it.
    """

    def __init__(self, folder: str, write: Callable[[bytes], Any]) -> None:
        """Open the folder, and make it where it is missing. Raises OSError."""
        above, name = os.path.split(folder)
        self._partials = os.path.join(above, f".{name}.incoming")
        for each in (folder, self._partials):
            os.makedirs(each, exist_ok=True)
        super().__init__(folder, write)
        self._name = os.fsencode(folder)
        self._file: tuple[dict[str, Any], BinaryIO, Any] | None = None

    def receive_all(self, wanted: list[dict[str, Any]], pieces: Iterator[bytes]) -> None:
        """Report which of the wanted files are needed and from which offset, receive them, and remove all others."""
        wait_for_lock(os.path.join(self._partials, LOCK), self._report_work)
        begun: set[str] = set()
        for entry in wanted:
            self._report_work()
            if not self._has(entry):
                # Of several files with the same content, only one can be continued.
                offset, digest = (0, hashlib.sha256()) if entry["sha256"] in begun else self._begun(entry)
                begun.add(entry["sha256"])
                self._write(described(NEEDED, path=entry["path"], offset=offset, sha256=digest.hexdigest()))
        self._write(frame(END))
        frames = Frames()
        while not frames.is_done:
            piece = next(pieces, b"")
            if not piece:
                return  # the other side has gone; what is here is kept
            for kind, payload in frames.feed(piece):
                self._take(kind, payload)
            self._report_work()
        self._write(described(DONE, removed=self._remove_others({path_of(entry["path"]) for entry in wanted})))

    def _has(self, entry: dict[str, Any]) -> bool:
        try:
            with os.fdopen(opened(self._folder, path_of(entry["path"])), "rb") as file:
                is_whole = os.fstat(file.fileno()).st_size == entry["size"]
                return is_whole and bool(self._digest(file, entry["size"]).hexdigest() == entry["sha256"])
        except OSError:
            return False

    def _partial(self, entry: dict[str, Any]) -> str:
        return os.path.join(self._partials, os.path.basename(entry["sha256"]))

    def _begun(self, entry: dict[str, Any]) -> tuple[int, Any]:
        """Return how much of a file has arrived before, and its SHA-256 to continue."""
        with contextlib.suppress(OSError), open(self._partial(entry), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= entry["size"]:
                return size, self._digest(file, size)
        return 0, hashlib.sha256()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == FILE:
            entry = json.loads(payload)
            offset, digest = self._begun(entry) if entry["offset"] else (0, hashlib.sha256())
            if offset != entry["offset"]:
                raise OSError(0, f"{entry['path']} is being received by another pod")
            file = open(self._partial(entry), "ab" if offset else "wb")  # noqa: SIM115 - closed when its end arrives
            self._file = entry, file, digest
        elif kind == DATA and self._file:
            self._file[1].write(payload)
            self._file[2].update(payload)
        elif kind == END and self._file:
            (entry, partial, digest), self._file = self._file, None
            partial.close()
            if digest.hexdigest() == entry["sha256"]:
                with folder_of(self._folder, path_of(entry["path"]), make=True) as (inside, name):
                    os.replace(partial.name, name, dst_dir_fd=inside)
            else:
                os.unlink(partial.name)
                self._write(described(FAILED, path=entry["path"], why="it was changed while it was sent"))

    def _remove_others(self, wanted: set[bytes]) -> int:
        """Remove files that should not be there, and empty folders; return the number of removed files."""
        removed = 0
        for place, folders, names in os.walk(self._name, topdown=False):
            for name in [*names, *(each for each in folders if os.path.islink(os.path.join(place, each)))]:
                path = os.path.join(place, name)
                if os.path.relpath(path, self._name) not in wanted:
                    os.unlink(path)
                    removed += 1
            if place != self._name:
                with contextlib.suppress(OSError):
                    os.rmdir(place)
        for each in os.listdir(self._partials):
            if each != LOCK:
                os.unlink(os.path.join(self._partials, each))
        return removed


def wait_for_lock(path: str, report_work: Callable[[], None]) -> None:
    """Keep other pods out until this process ends; on a file system without locks, nobody is kept out."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report_work()
                time.sleep(NEWS_SECONDS)


def answering(out: BinaryIO) -> Callable[[bytes], Any]:
    """Return a function that writes at once, and keeps the pod running."""
    next_touch = 0.0

    def write(piece: bytes) -> None:
        nonlocal next_touch
        out.write(piece)
        out.flush()
        if time.monotonic() > next_touch:
            touch()
            next_touch = time.monotonic() + NEWS_SECONDS

    return write


def touch() -> None:
    """Record that a request is served."""
    with contextlib.suppress(OSError), open(ALIVE, "ab"):
        os.utime(ALIVE)


def keep(idle_seconds: float) -> None:
    """Wait until no request was served for this long, or until the pod should end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    touch()
    while time.time() - os.stat(ALIVE).st_mtime < idle_seconds:
        time.sleep(1)


def check_folder(folder: str) -> None:
    """Refuse a folder that does not exist, with a list of those that do. Raises OSError."""
    if os.path.isdir(folder) and not os.path.islink(folder):
        return
    beside = os.path.dirname(folder)
    names = (entry.name for entry in os.scandir(beside) if entry.is_dir(follow_symlinks=False))
    there = ", ".join(sorted(set(names) - {"lost+found"})) or "nothing"
    raise FileNotFoundError(0, f"the claim has no run {os.path.basename(folder)}; it has: {there}")


def main(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    verb, argument = arguments
    if verb == "keep":
        keep(float(argument))
        return 0
    touch()
    stdin: Any = sys.stdin.buffer
    try:
        if verb == "receive":
            receiver = Receiver(argument, answering(sys.stdout.buffer))
            receiver.receive_all(json.loads(stdin.readline()), iter(lambda: stdin.read1(BLOCK), b""))
            return 0
        check_folder(argument)
        if verb == "list":
            print(json.dumps(listing(argument)), flush=True)
        else:
            Sender(argument, answering(sys.stdout.buffer)).send_all(json.loads(stdin.readline()))
    except BrokenPipeError:
        os._exit(STORAGE_EXIT_CODE)  # the other side has gone: nothing can be written, not even at exit
    except OSError as error:
        where = f"{name_of(os.fsencode(error.filename))}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr, flush=True)
        return MISSING_INPUT_EXIT_CODE if isinstance(error, FileNotFoundError) else STORAGE_EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
