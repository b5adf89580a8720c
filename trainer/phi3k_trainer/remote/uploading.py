"""Writing a directory to an object store, so that a reader finds it whole or not at all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3k_trainer.errors import MissingInputError, OutputError
from phi3k_trainer.files import convert, decode_json, encode_json, read_json, write_atomically
from phi3k_trainer.progress import Progress, ProgressCallback
from phi3k_trainer.remote.folders import RemoteFolder

MANIFEST = "phi3k-manifest.json"
"""The object that is written last: it names every file with its size and SHA-256."""

_HASH_BLOCK_BYTES = 2**24
# Name -> size and SHA-256.
Files = dict[str, dict[str, Any]]


def upload(directory: Path, address: str, record: Path, progress: ProgressCallback | None = None) -> int:
    """Write all files below a directory to a folder of an object store; the manifest comes last.

    What was written before, by an upload that did not get to its end or by one of other files, is taken over where its
    content is the same, and replaced or removed where it is not. Meanwhile the folder has no manifest.

    Args:
        directory: What to write.
        address: The folder in the store.
        record: A file that remembers what was written; without it everything is written again.
        progress: Called after each file.

    Returns:
        How many files were written now.

    Raises:
        OutputError: something else is in that folder.
        PermissionDeniedError, UnavailableError: the store refuses, or doesn't answer.
        StorageError: the record can't be written.
    """
    folder = RemoteFolder(address)
    files = described(directory)
    there = {file.name: file.version for file in folder.list_files_or_none()}
    manifest = read_manifest(folder) if MANIFEST in there else None
    if manifest == files:
        return 0
    known = _recorded(record, address)
    ours = {*(manifest or {}), *known, MANIFEST}
    if others := sorted(there.keys() - ours):
        raise OutputError(
            f"{address} holds something else already, such as {others[0]}: name an empty folder, or remove that"
        )
    if MANIFEST in there:
        folder.remove(MANIFEST)
    for name in sorted(there.keys() - files.keys() - {MANIFEST}):
        folder.remove(name)
    missing = [name for name, facts in files.items() if not _is_there(name, facts, there, known)]
    for done, name in enumerate(missing, 1):
        version = folder.write_file(directory / name, name)
        known[name] = {**files[name], "version": version}
        write_atomically(record, encode_json({"address": address, "files": known}), "checkpoint.directory")
        if progress is not None:
            progress(Progress("files", done, len(missing)))
    folder.write(MANIFEST, encode_json({"files": files}))
    return len(missing)


def described(directory: Path) -> Files:
    """Return size and SHA-256 of each file below a directory, by its name there."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)} for path in paths
    }


def read_manifest(folder: RemoteFolder) -> Files:
    """Return what the manifest of a folder names; nothing where it is damaged, as after another program's writing.

    Raises:
        Phi3kError: as `RemoteFolder.list_files`.
    """
    try:
        document = convert(dict[str, Files], decode_json(folder.read(MANIFEST)))
    except ValueError:
        return {}
    return document.get("files", {})


def _recorded(record: Path, address: str) -> Files:
    """Return what an earlier upload to this address wrote; nothing where no record is left of it."""
    try:
        document = read_json(record)
        return convert(Files, document["files"]) if document["address"] == address else {}
    except (MissingInputError, ValueError, KeyError):
        return {}


def _is_there(name: str, facts: Mapping[str, Any], there: Mapping[str, str], known: Mapping[str, Any]) -> bool:
    return name in there and known.get(name) == {**facts, "version": there[name]}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
