"""Reading and writing the files of phi3k: whole or not at all, as JSON that every reader accepts, without hanging.

JSON as in RFC 8259: no NaN, no Infinity, no half of a surrogate pair. JSON lines end with a line feed and with nothing
else that Unicode counts as the end of a line.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from urllib.parse import unquote_to_bytes

from phi3k_trainer.errors import MissingInputError, StorageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Field = Literal["data.cache", "checkpoint.directory", "model.base"]
"""The field of the recipe that says where a file lies."""

T = TypeVar("T")

MAX_LINE_BYTES = 2**28
MAX_DOCUMENT_BYTES = 2**28
"""Far more than any file of phi3k has: a longer one is damaged, and is not read into memory."""

_FILE_SCHEME = "file://"
# Characters that may stand in JSON but end a line for str.splitlines, and halves of surrogate pairs, which may not.
_UNSAFE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


class DamagedFileError(MissingInputError):
    """A file that was written by phi3k, or for it, can't be used as it is now."""


def write_atomically(path: Path, data: bytes, field: Field, *, durable: bool = True) -> None:
    """Put `data` at `path` in one step: temporary file beside it, fsync, rename.

    A reader sees the old file or the whole new one; when writing fails nothing is left behind.

    Args:
        path: The file; its directory is made where it is missing.
        data: Its content.
        field: The recipe's field to change when the place is full.
        durable: False leaves the fsync out, for files that only save work and may be lost in a power failure.

    Raises:
        StorageError: the disk is full (saying how much space is missing) or refuses the write.
    """
    # Not tempfile: its files are private to this user, the cache is shared as far as the umask says.
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
        raise storage_error(path, len(data), field, error) from error
    if durable:
        fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(path: Path, needed: int, field: Field, error: OSError) -> StorageError:
    """Return what to raise for an `error` met while `needed` bytes were written to `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        existing = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(existing).free
        return StorageError(
            f"the disk is full: writing {path} needs {needed:,} bytes, {existing} has {free:,} free, so at least "
            f"{max(needed - free, 1):,} are missing. Free space there, or set {field} to a larger disk"
        )
    if error.errno == errno.EFBIG:
        return StorageError(f"{path} of {needed:,} bytes is larger than the file size limit (ulimit -f) allows")
    return StorageError(f"can't write {path}: {error.strerror or error}; check {field} and its permissions")


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a regular file, opened without waiting for anything.

    Raises:
        OSError: it can't be opened, or is a directory, a FIFO, a device or a socket.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def reading(path: Path) -> BufferedReader:
    """A regular file, open for reading. Raises OSError as `open_regular`."""
    return os.fdopen(open_regular(path), "rb")


def read_document(path: Path) -> bytes:
    """The content of a regular file of at most MAX_DOCUMENT_BYTES. Raises OSError."""
    with reading(path) as file:
        content = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise OSError(errno.EFBIG, f"it has over {MAX_DOCUMENT_BYTES:,} bytes")
    return content


def encode_json(value: Any, *, indent: int | None = None) -> bytes:
    """JSON with a line feed at its end; dataclasses become objects of their fields.

    Numbers that are not finite become null. Half of a surrogate pair, which no file may hold, becomes its escape as
    text: `\\udce9` with a visible backslash.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=vars)
    except ValueError:
        text = json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return (_UNSAFE.sub(_escaped, text) + "\n").encode()


def _escaped(match: re.Match[str]) -> str:
    escape = f"\\u{ord(match[0]):04x}"
    return f"\\{escape}" if "\ud800" <= match[0] <= "\udfff" else escape


def printable(text: str) -> str:
    """`text` with halves of surrogate pairs, as names that are not UTF-8 have them, replaced by their escapes."""
    return text.encode(errors="backslashreplace").decode()


def finite(value: Any) -> Any:
    """`value` of JSON types and dataclasses as JSON types, with None in place of numbers that are not finite."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode_json(data: bytes) -> Any:
    """The value in UTF-8 JSON text. Raises ValueError for anything else, NaN and Infinity included."""
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def convert(kind: type[T], value: Any) -> T:
    """`value` of JSON types as `kind`, a dataclass or another annotated type. Raises ValueError for another shape."""
    from pydantic import ValidationError  # takes longer than the start of most verbs, which only print

    try:
        converted: T = _adapter(cast("Hashable", kind)).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    return converted


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: A regular file.
        remedy: What to do when it can't be used, as a sentence.

    Raises:
        MissingInputError: it is not there, or holds something else.
    """
    with damage_named(path, remedy):
        return convert(dict[str, Any], decode_json(read_document(path)))


def read_json_lines(path: Path, remedy: str, *, last_may_be_torn: bool = False) -> Iterator[dict[str, Any]]:
    """The objects in a file of JSON lines, in order.

    Args:
        path: A regular file.
        remedy: What to do when it can't be used, as a sentence.
        last_may_be_torn: A last line without its line feed was cut off by a kill, and is left out.

    Raises:
        MissingInputError: it is not there, or a line holds something else.
    """
    number = 0
    try:
        with reading(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if last_may_be_torn and not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                    return
                yield convert(dict[str, Any], decode_json(line))
    except OSError as error:
        raise damaged(path, error, remedy) from error
    except ValueError as error:
        raise damaged(path, f"line {number}: {error}", remedy) from error


@contextlib.contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with the file at `path` in the block into a DamagedFileError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise damaged(path, error, remedy) from error


def damaged(path: Path, problem: OSError | ValueError | str, remedy: str) -> DamagedFileError:
    """The error that names a file, what is wrong with it, and what to do."""
    why = (problem.strerror if isinstance(problem, OSError) else None) or problem
    return DamagedFileError(f"{path} can't be used: {why}{'. ' if remedy else ''}{remedy}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as published model directories have it: indented, UTF-8. Raises OSError."""
    path.write_bytes(encode_json(content, indent=2))


def path_to_text(path: Path) -> str:
    """A path as text that any reader takes: itself, or its file URI where its name is not UTF-8."""
    text = str(path)
    return Path(path).absolute().as_uri() if _UNSAFE.search(text) else text


def path_from_text(text: str) -> Path:
    """The path that `path_to_text` was given."""
    if not text.startswith(_FILE_SCHEME):
        return Path(text)
    return Path(os.fsdecode(unquote_to_bytes(text.removeprefix(_FILE_SCHEME))))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`: one process at a time, also over NFS; a dead process holds it no longer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
