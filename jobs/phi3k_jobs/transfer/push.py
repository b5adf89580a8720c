"""Copying files of this machine to the cache's claim: files that are already there and the same are not sent again."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.executing import LostError
from phi3k_jobs.transfer.parts import Entry
from phi3k_jobs.transfer.program import (
    BLOCK,
    DATA,
    DONE,
    END,
    FAILED,
    FILE,
    NEEDED,
    FormError,
    Frames,
    described,
    frame,
    name_of,
)
from phi3k_jobs.transfer.visit import Callbacks, Place, check_rights, line_of, visiting
from phi3k_trainer.contract import CACHE
from phi3k_trainer.errors import DataError, MissingInputError, StorageError, UnavailableError
from phi3k_trainer.recipe import Recipe

PUSHED = "pushed"
FRUITLESS_ATTEMPTS = 5
PAUSE_SECONDS = 2.0
PASSES = 3
ENDED_EARLY = "the program in the pod ended before it had everything"


class Program(Protocol):
    """A program that reads and writes."""

    def write(self, content: bytes) -> bytes:
        """Give it something to read; return what it has written until now."""

    def output(self) -> Iterator[bytes]:
        """Yield what it writes until it has succeeded."""


@dataclass(frozen=True)
class LocalFile:
    """A file to push."""

    name: str
    """Its name on the claim, below the folder; bytes that are not UTF-8 as halves of surrogate pairs."""
    path: Path


@dataclass(frozen=True)
class Pushed:
    """What a push has done."""

    folder: str
    """Where the pods see it."""
    files: int
    size: int
    sent: int
    """Bytes that were sent now; the rest was already there."""
    removed: int
    """Files of an earlier push that this one no longer has."""


@dataclass(frozen=True)
class _Hashed:
    file: LocalFile
    size: int
    sha256: str

    @property
    def record(self) -> dict[str, Any]:
        return {"path": self.file.name, "size": self.size, "sha256": self.sha256}


def pushed_place(recipe: Recipe) -> Place:
    """Return the folder on the cache's claim, named after the recipe, to which its data is pushed."""
    return Place(recipe.cluster.cache, CACHE, f"{PUSHED}/{recipe.name}", can_write=True)


def push(
    cluster: Cluster,
    recipe: Recipe,
    files: Sequence[LocalFile],
    *,
    callbacks: Callbacks,
    begin: Callable[[Sequence[Entry]], Callable[[str, int], None]],
) -> Pushed:
    """Make the recipe's folder hold exactly these files, copied in this order.

    Args:
        cluster: Where the claim is.
        recipe: Says which claim, and where a pod for it runs.
        files: What to push; the last ones get their names only when all before them are there.
        callbacks: Called with what is waited for.
        begin: Is called with the files; what it returns, with the progress of each.

    Raises:
        MissingInputError: a file does not exist.
        PermissionDeniedError: files may not be copied into pods.
        ProgramError: the claim is full, or refuses a file.
        StorageError: files keep changing while they are sent.
        UnavailableError: the connection keeps breaking.
    """
    check_rights(cluster)
    place = pushed_place(recipe)
    show = begin([Entry(file.name, _size(file.path), 0.0) for file in files])
    with visiting(cluster, recipe, recipe.name, place, callbacks) as visit:
        return bring(lambda: visit.program("receive"), place.path, files, show, callbacks.notice)


def bring(
    program: Callable[[], AbstractContextManager[Program]],
    folder: str,
    files: Sequence[LocalFile],
    show: Callable[[str, int], None],
    notice: Callable[[str], None],
) -> Pushed:
    """Send the files that `program` lacks. It is started again after each lost connection."""
    sent = removed = 0
    for _ in range(PASSES):
        hashed = [_hashed(file) for file in files]
        held = list(_conversations(program, hashed, show, notice))
        sent += sum(each.sent for each in held)
        removed += held[-1].removed
        if not held[-1].failed:
            return Pushed(folder, len(hashed), sum(file.size for file in hashed), sent, removed)
    reasons = "; ".join(f"{path}: {why}" for path, why in held[-1].failed.items())
    raise StorageError(f"{len(held[-1].failed)} files are not pushed: {reasons}. The same command continues")


def _conversations(
    program: Callable[[], AbstractContextManager[Program]],
    hashed: Sequence[_Hashed],
    show: Callable[[str, int], None],
    notice: Callable[[str], None],
) -> Iterator["_Conversation"]:
    """Yield the conversations until one was completed."""
    fruitless = 0
    while True:
        held = _Conversation(hashed, show)
        try:
            with program() as running:
                held.hold(running)
        except (LostError, FormError) as error:
            fruitless = 0 if held.sent else fruitless + 1
            if fruitless == FRUITLESS_ATTEMPTS:
                raise UnavailableError(f"{error}. What has arrived is kept, and the same command continues") from error
            notice(f"{error}. Continuing from what has arrived")
            time.sleep(PAUSE_SECONDS)
            yield held
        else:
            yield held
            return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise MissingInputError(f"{path} can't be read: {error.strerror or error}") from error


def _hashed(file: LocalFile) -> _Hashed:
    try:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
            return _Hashed(file, content.tell(), digest.hexdigest())
    except OSError as error:
        raise MissingInputError(f"{file.path} can't be read: {error.strerror or error}") from error


class _Conversation:
    """One run of the pod's program: it reports what it needs, and receives it."""

    def __init__(self, hashed: Sequence[_Hashed], show: Callable[[str, int], None]) -> None:
        self._hashed = hashed
        self._show = show
        self._frames = Frames()
        self._needed: dict[str, tuple[int, str]] = {}
        self._knows_needs = False
        self.sent = 0
        self.removed = 0
        self.failed: dict[str, str] = {}

    def hold(self, program: Program) -> None:
        """Ask what is needed, send it, and read the results."""
        self._read(program.write(line_of(each.record for each in self._hashed)))
        output = program.output()
        while not self._knows_needs:
            self._read(_next(output))
        for each in self._hashed:
            if each.file.name in self._needed:
                self._send(program, each, *self._needed[each.file.name])
            else:
                self._show(each.file.name, each.size)
        self._read(program.write(frame(DONE)))
        for piece in output:
            self._read(piece)
        if not self._frames.is_done:
            raise LostError(ENDED_EARLY)

    def _send(self, program: Program, each: _Hashed, offset: int, sha256: str) -> None:
        with each.file.path.open("rb") as content:
            if offset and _digest(content, offset) != sha256:
                offset = 0
            content.seek(offset)
            self._read(program.write(described(FILE, **each.record, offset=offset)))
            while block := content.read(min(BLOCK, each.size - offset)):
                self._read(program.write(frame(DATA, block)))
                self.sent += len(block)
                offset += len(block)
                self._show(each.file.name, offset)
            self._read(program.write(frame(END)))

    def _read(self, written: bytes) -> None:
        for kind, payload in self._frames.feed(written):
            fields = json.loads(payload) if payload else {}
            if kind == NEEDED:
                self._needed[str(fields["path"])] = int(fields["offset"]), str(fields["sha256"])
            elif kind == END:
                self._knows_needs = True
            elif kind == FAILED:
                self.failed[str(fields["path"])] = str(fields["why"])
            elif kind == DONE:
                self.removed = int(fields["removed"])


def _next(output: Iterator[bytes]) -> bytes:
    try:
        return next(output)
    except StopIteration:
        raise LostError(ENDED_EARLY) from None


def _digest(content: BinaryIO, count: int) -> str:
    digest = hashlib.sha256()
    while count and (block := content.read(min(BLOCK, count))):
        digest.update(block)
        count -= len(block)
    return digest.hexdigest()


def names_below(base: Path, paths: Sequence[Path]) -> list[LocalFile]:
    """Return files with their names below `base`.

    Raises:
        DataError: one does not lie there.
    """
    try:
        return [LocalFile(name_of(os.fsencode(path.relative_to(base))), path) for path in paths]
    except ValueError as error:
        raise DataError(str(error)) from error
