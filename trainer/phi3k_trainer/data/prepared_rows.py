"""The prepared rows of a data set, in a file: the next run starts at once, a resumed run gets the same rows."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.files import (
    convert,
    damage_named,
    encode_json,
    path_from_text,
    path_to_text,
    read_json_lines,
    write_atomically,
)
from phi3k_trainer.prompts.conversation import Turn

FORMAT = "phi3k/prepared/v2"
"""Changes whenever the same recipe and files would be prepared differently."""

_REMEDY = "Remove it: the data is prepared again"


@dataclass(frozen=True)
class PreparedImage:
    """A verified picture."""

    sha256: str
    width: int
    height: int
    num_bytes: int
    path: str | None
    """Absolute path of a local picture used where it is; None: it lies in the store."""
    mtime_ns: int | None
    """When a local picture was last changed."""

    def location(self, store: Store) -> Path:
        """Where the picture is."""
        return store.path(self.sha256) if self.path is None else Path(self.path)

    def is_unchanged(self, store: Store) -> bool:
        """Whether the file is still there with the same size and, of a local picture, the same time."""
        try:
            status = self.location(store).stat()
        except OSError:
            return False
        return status.st_size == self.num_bytes and self.mtime_ns in (None, status.st_mtime_ns)


@dataclass(frozen=True)
class _Head:
    """The first line of the file."""

    format: str
    rows: int
    repeated: int
    beyond_max_rows: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class PreparedRow:
    """A row that can be trained on, before the split."""

    key: str
    turns: tuple[Turn, ...]
    images: tuple[PreparedImage, ...]
    fields: dict[str, str]


@dataclass(frozen=True)
class PreparedRows:
    """The result of preparing a data set, in the order of the keys' hashes."""

    rows: tuple[PreparedRow, ...]
    rejections: tuple[Rejection, ...]
    repeated: int
    """Rows dropped because the very same row was there already."""
    beyond_max_rows: int
    """Rows not looked at any further, because `max_rows` were chosen before them."""
    remarks: tuple[str, ...]
    """What was left out and is not a row, such as files that are not read."""

    @property
    def considered(self) -> int:
        """Rows looked at, good and bad."""
        return len(self.rows) + len(self.rejections)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows and the content of their pictures, wherever the pictures lie."""
        digest = hashlib.sha256()
        for row in self.rows:
            pictures = [image.sha256 for image in row.images]
            digest.update(_line([row.key, [[turn.role, turn.text] for turn in row.turns], pictures, row.fields]))
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write JSON lines: a head, the rows, the rejections."""
        head = _Head(FORMAT, len(self.rows), self.repeated, self.beyond_max_rows, self.remarks)
        rows = map(_with_paths_as_text, self.rows)
        write_atomically(path, b"".join(map(encode_json, (head, *rows, *self.rejections))), "data.cache")

    @classmethod
    def read(cls, path: Path) -> "PreparedRows | None":
        """What `write` wrote to `<digest>.jsonl`; None when there is nothing, or something from another version.

        Raises:
            MissingInputError: the file holds something else.
        """
        if not path.exists():
            return None
        with damage_named(path, _REMEDY):
            lines = read_json_lines(path, _REMEDY)
            first = next(lines, {})
            if first.get("format") != FORMAT:
                return None
            head = convert(_Head, first)
            items = list(lines)
            rows = tuple(_with_paths(convert(PreparedRow, item)) for item in items[: head.rows])
            rejections = tuple(convert(Rejection, item) for item in items[head.rows :])
            prepared = cls(rows, rejections, head.repeated, head.beyond_max_rows, head.remarks)
            if prepared.digest != path.stem:
                raise ValueError("its rows are not those that were prepared")
            return prepared

    def is_intact(self, store: Store) -> bool:
        """Whether every picture is still where it was, unchanged by its size and time."""
        images = {(image.sha256, image.path): image for row in self.rows for image in row.images}
        return all(image.is_unchanged(store) for image in images.values())


def _line(item: Any) -> bytes:
    """A row in the form that is hashed for the digest; other files are written by `encode_json`."""
    return json.dumps(item, separators=(",", ":"), default=vars).encode() + b"\n"


def _with_paths_as_text(row: PreparedRow) -> PreparedRow:
    return _with(row, lambda path: path_to_text(Path(path)))


def _with_paths(row: PreparedRow) -> PreparedRow:
    return _with(row, lambda text: str(path_from_text(text)))


def _with(row: PreparedRow, change: Callable[[str], str]) -> PreparedRow:
    images = (image if image.path is None else replace(image, path=change(image.path)) for image in row.images)
    return replace(row, images=tuple(images))
