"""Copies of what lies below an address, on this disk: brought once, and again only where the store's has changed."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.files import encode_json, read_json, storage_error, write_atomically
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.remote.folders import RemoteFile, RemoteFolder

_THREADS = 8


def mirror_path(address: str, cache: Path) -> Path:
    """Return where the copy of an address lies: a file where the address is one object, else a directory.

    It is there after `bring`. Nothing is asked of the store.
    """
    place = _place(address, cache)
    single = _read_index(place).get("single")
    return place / "files" / single if isinstance(single, str) else place / "files"


def bring(
    address: str,
    cache: Path,
    wanted: Callable[[str], bool],
    progress: ProgressCallback | None = None,
) -> tuple[str, ...]:
    """Copy the objects at an address, or below it, that are wanted and not here yet; remove what is gone there.

    Several processes may do so at once: one copies, the others wait.

    Args:
        address: One object, a folder or a pattern.
        cache: The directory `data.cache`; the copy lies below it (see `mirror_path`).
        wanted: Says of a name below the address whether it is copied. A single object always is.
        progress: See `phi3k_trainer.progress`.

    Returns:
        The names of objects that are not wanted.

    Raises:
        DataError: the name of an object can't be that of a file below a directory.
        StorageError: the cache can't be written.
        MissingInputError, PermissionDeniedError, UnavailableError: see `RemoteFolder.list_files`.
    """
    folder = RemoteFolder(address)
    place = _place(address, cache)
    with _locked(place / "lock"):
        listed = folder.list_files()
        single = listed[0].name if [file.path for file in listed] == [folder.root] else None
        chosen = listed if single else [file for file in listed if wanted(file.name)]
        for file in chosen:
            _check_name(file.name, address)
        known = _versions(_read_index(place))
        missing = [file for file in chosen if not _is_here(place, file, known)]
        _remove_others(place / "files", {file.name for file in chosen})
        _copy(folder, missing, place / "files", progress)
        index = {
            "address": address,
            "single": single,
            "files": {file.name: [file.size, file.version] for file in chosen},
        }
        write_atomically(place / "index.json", encode_json(index), "data.cache")
    names = {file.name for file in chosen}
    return tuple(file.name for file in listed if file.name not in names)


def fingerprint_of(address: str) -> list[list[str | int]]:
    """Return name, size and version of each object at an address or below it.

    Raises:
        MissingInputError, PermissionDeniedError, UnavailableError: see `RemoteFolder.list_files`.
    """
    return [[file.name, file.size, file.version] for file in RemoteFolder(address).list_files()]


def _place(address: str, cache: Path) -> Path:
    return cache / "mirror" / hashlib.sha256(address.encode()).hexdigest()[:32]


def _check_name(name: str, address: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\0" in name or "//" in name or {".", ".."} & set(name.split("/")):
        raise DataError(
            f"{address} holds an object named {name!r}, which no file below a directory can be named: rename it, or "
            "name a folder or a pattern without it"
        )


def _read_index(place: Path) -> dict[str, Any]:
    """Return what was brought before, empty where nothing was."""
    try:
        index = read_json(place / "index.json")
    except (MissingInputError, ValueError):  # it is a memo: a damaged one means that all is brought again
        return {}
    return dict(index) if isinstance(index, dict) else {}


def _versions(index: Mapping[str, Any]) -> Mapping[str, list[object]]:
    files = index.get("files")
    return files if isinstance(files, dict) else {}


def _is_here(place: Path, file: RemoteFile, known: Mapping[str, list[object]]) -> bool:
    path = place / "files" / file.name
    return known.get(file.name) == [file.size, file.version] and path.is_file() and path.stat().st_size == file.size


def _remove_others(files: Path, wanted: set[str]) -> None:
    for path in files.rglob("*"):
        if not path.is_dir() and path.relative_to(files).as_posix() not in wanted:
            path.unlink(missing_ok=True)


def _copy(folder: RemoteFolder, missing: list[RemoteFile], files: Path, progress: ProgressCallback | None) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for done, _ in enumerate(threads.map(lambda file: _copy_one(folder, file, files), missing), 1):
                if progress is not None:
                    progress(Progress("files", done, len(missing), 0))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _copy_one(folder: RemoteFolder, file: RemoteFile, files: Path) -> None:
    target = files / file.name
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as written:
            for block in folder.blocks(file):
                written.write(block)
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise storage_error(target, file.size, "data.cache", error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file: one process at a time; a process that dies lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
