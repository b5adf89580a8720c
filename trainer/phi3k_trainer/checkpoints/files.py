"""Checkpoints on disk: each a directory that is complete or absent, and that lists what is in it.

    checkpoints/step-000120/{*.safetensors, *.json, MANIFEST.json}

The manifest holds size and SHA-256 of every other file. A directory gets its name when all of its files, the
manifest and the directory itself have reached the disk. Nothing is ever unpickled.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.checkpoints.tensor_file import FileDigest, TensorFile, write_bytes, write_tensors
from phi3k_trainer.errors import MissingInputError, StorageError
from phi3k_trainer.files import convert, decode_json, fsync_directory, read_document, reading

MANIFEST = "MANIFEST.json"
_NAME = re.compile(r"step-(\d{6,})")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+\.(json|safetensors)")
_PARTIAL = ".partial-"
_REPLACED = ".replaced-"


def checkpoint_name(step: int) -> str:
    """Name of the directory that holds the state after `step` optimiser steps."""
    return f"step-{step:06d}"


def checkpoint_step(path: Path) -> int:
    """The step in the name of a checkpoint. Raises MissingInputError for another name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise MissingInputError(f"{path} is not a checkpoint: its name is not like step-000120")
    return int(match[1])


def list_checkpoints(root: Path) -> list[Path]:
    """The finished checkpoints under `root`, oldest first, whether they verify or not."""
    found = [path for path in root.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=checkpoint_step)


def write_checkpoint(
    root: Path, step: int, tensor_files: Mapping[str, TensorFile], documents: Mapping[str, Any]
) -> Path:
    """Write a checkpoint of `tensor_files` (*.safetensors) and `documents` (*.json) and return its directory.

    An older checkpoint of the same step is replaced when the new one is complete.

    Raises:
        StorageError: the disk is full (saying how much space is missing) or refuses the write. Nothing that was
            there before is touched, and nothing half-written stays.
    """
    final = root / checkpoint_name(step)
    partial = root / (_PARTIAL + final.name)
    needed = sum(file.num_bytes for file in tensor_files.values())
    try:
        partial.mkdir(parents=True)
        _check_space(root, needed)
        manifest = {name: write_tensors(partial / name, file) for name, file in tensor_files.items()}
        manifest |= {name: write_bytes(partial / name, _json_bytes(value)) for name, value in documents.items()}
        write_bytes(partial / MANIFEST, _json_bytes({name: asdict(digest) for name, digest in manifest.items()}))
        fsync_directory(partial)
        _put_in_place(partial, final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _storage_error(final, needed, error) from error
    return final


def clean_up(root: Path) -> None:
    """Remove what a killed save left behind, and bring back the checkpoint it was about to replace."""
    for path in _own(root, _REPLACED):
        original = root / path.name.removeprefix(_REPLACED)
        if original.exists():
            _remove(path)
        else:
            path.rename(original)
    for path in _own(root, _PARTIAL):
        _remove(path)


def _own(root: Path, prefix: str) -> list[Path]:
    """Everything under a name that a save gives; other names are not ours."""
    return [path for path in root.glob(f"{prefix}*") if _NAME.fullmatch(path.name.removeprefix(prefix))]


def _remove(path: Path) -> None:
    """Remove a directory with all that is in it, or whatever else has its name; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files in one sentence, or None: every file has its size and SHA-256."""
    try:
        expected = convert(dict[str, FileDigest], decode_json(read_document(checkpoint / MANIFEST)))
    except (OSError, ValueError) as error:
        return f"{MANIFEST} can't be read: {error}"
    if not expected:
        return f"{MANIFEST} lists no files"
    for name, digest in expected.items():
        if not _FILE_NAME.fullmatch(name):
            return f"{MANIFEST} lists {name!r}, which is not the name of a file of a checkpoint"
        try:
            with reading(checkpoint / name) as file:
                num_bytes = os.fstat(file.fileno()).st_size
                if num_bytes != digest.num_bytes:
                    return f"{name} has {num_bytes:,} bytes instead of {digest.num_bytes:,}"
                if hashlib.file_digest(file, "sha256").hexdigest() != digest.sha256:
                    return f"{name} does not match its SHA-256 in {MANIFEST}"
        except OSError as error:
            return f"{name} can't be read: {error.strerror or error}"
    return None


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that does not verify."""

    path: Path
    damage: str


def newest_verified(root: Path) -> tuple[Path | None, list[Damaged]]:
    """The newest checkpoint whose files are all as they were written, and the newer ones that are not."""
    damaged: list[Damaged] = []
    for path in reversed(list_checkpoints(root)):
        damage = find_damage(path)
        if damage is None:
            return path, damaged
        damaged.append(Damaged(path, damage))
    return None, damaged


def set_aside(damaged: Sequence[Damaged]) -> None:
    """Rename damaged checkpoints to damaged-step-..., so that they neither count as kept nor are looked at again."""
    for checkpoint in damaged:
        new = checkpoint.path.with_name(f"damaged-{checkpoint.path.name}")
        _remove(new)
        checkpoint.path.rename(new)


def prune(root: Path, keep: int, best_step: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and that of `best_step`."""
    checkpoints = list_checkpoints(root)
    for path in checkpoints[: max(0, len(checkpoints) - keep)]:
        if checkpoint_step(path) != best_step:
            doomed = path.rename(root / (_PARTIAL + path.name))  # a kill in between leaves no half checkpoint
            _remove(doomed)


def _json_bytes(value: Any) -> Iterator[bytes]:
    yield (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _put_in_place(partial: Path, final: Path) -> None:
    replaced = final.with_name(_REPLACED + final.name)
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    fsync_directory(final.parent)
    _remove(replaced)


def _check_space(root: Path, needed: int) -> None:
    """Raise OSError before a large file is begun that can't fit."""
    if shutil.disk_usage(root).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _storage_error(final: Path, needed: int, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(final.parent).free
        return StorageError(
            f"checkpoint {final} not saved, the disk is full: it needs {needed / 1e6:,.1f} MB and {free / 1e6:,.1f} MB "
            f"are free. Free at least {max(needed - free, 1e6) / 1e6:,.1f} MB there, or lower checkpoint.keep"
        )
    return StorageError(f"checkpoint {final} not saved: {error.strerror or error}. Earlier checkpoints are untouched")
