"""Writing safetensors files one tensor at a time, and hashing them on the way.

The format: an unsigned 64-bit little-endian length, a JSON header of that length (name -> dtype, shape and byte
range), then the tensors' bytes without gaps (https://github.com/huggingface/safetensors#format). Writing it here
keeps one tensor in memory instead of a whole sharded model, and reads nothing back for the hash.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ConfigDict, StrictInt, with_config
from torch import Tensor

_DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
}


@dataclass(frozen=True)
class TensorLayout:
    """What a tensor is, before its values are there."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TensorFile:
    """A file's tensors: their layouts by name, and their values in the same order, as they become ready."""

    layouts: Mapping[str, TensorLayout]
    values: Iterator[Tensor]

    @property
    def num_bytes(self) -> int:
        """Bytes of the file, its header aside."""
        return sum(layout.num_bytes for layout in self.layouts.values())


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class FileDigest:
    """What a manifest says of a file."""

    sha256: str
    num_bytes: StrictInt


def write_bytes(path: Path, chunks: Iterator[bytes | memoryview]) -> FileDigest:
    """Write `chunks` to `path` and flush them to the disk. Raises OSError."""
    digest = hashlib.sha256()
    num_bytes = 0
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            num_bytes += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileDigest(digest.hexdigest(), num_bytes)


def write_tensors(path: Path, tensors: TensorFile) -> FileDigest:
    """Write a safetensors file. Raises OSError; ValueError when a value is not what its layout says."""
    return write_bytes(path, _chunks(tensors))


def _chunks(tensors: TensorFile) -> Iterator[bytes | memoryview]:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, layout in tensors.layouts.items():
        end = offset + layout.num_bytes
        header[name] = {"dtype": _DTYPES[layout.dtype], "shape": list(layout.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # values start at a multiple of eight bytes
    yield len(text).to_bytes(8, "little")
    yield text
    for (name, layout), value in zip(tensors.layouts.items(), tensors.values, strict=True):
        if (value.dtype, tuple(value.shape)) != (layout.dtype, layout.shape):
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}, announced as {layout}")
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
