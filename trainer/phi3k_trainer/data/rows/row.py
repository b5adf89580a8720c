"""What a source yields, and what becomes of it: records, rows and their picture sources."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.prompts.conversation import Turn

Folder = Path | str
"""Where relative paths start: a directory, or the address of a folder in an object store."""


@dataclass(frozen=True)
class Record:
    """One record as a source has read it."""

    where: str
    """Its place for messages, such as `rows.csv:17`."""
    columns: Mapping[str, Any]
    picture_columns: tuple[str, ...]
    """Columns that hold this record's pictures, in order."""
    folder: Folder | None
    """Where relative picture paths start; None where the source has no directory."""
    turns: tuple[Turn, ...] | None = None
    """The conversation, where the source brings its own instead of the recipe's templates."""


@dataclass(frozen=True)
class Remark:
    """Something that was left out and is not a row, such as files that are not read: for a person to see."""

    text: str


@dataclass(frozen=True)
class ImageSource:
    """Where one picture comes from: exactly one of the two is given."""

    location: str | None = None
    """An http(s) URL, the address of an object, or an absolute path."""
    data: bytes | None = None
    """The encoded picture itself."""


@dataclass(frozen=True)
class Row:
    """One sample before its pictures are fetched."""

    key: str
    """Identity across versions of the data: the key column's value, or a hash of the row's content."""
    digest: str
    """SHA-256 of the row's cells; rows with the same key, digest and pictures are one row."""
    images: tuple[ImageSource, ...]
    turns: tuple[Turn, ...]
    fields: Mapping[str, str]
    """The answer's fields as they stand in the answer; empty for conversations without a template."""
    where: str
    """The place of its record for messages, such as `rows.csv:17`."""


class UnusableRowError(Exception):
    """A row that goes to quarantine, with the reason it is counted under."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep `reason` beside the detail."""
        super().__init__(detail)
        self.reason = reason


# What data sets write for an unknown value. Not "NA" and "none": those are also a country and a word.
_NO_VALUE = frozenset({"", "n.a.", "n.a", "n/a", "#n/a", "nan", "null", "<na>"})


def is_missing(value: object) -> bool:
    """Whether a cell holds no value: null, NaN, an infinite number, or a text that stands for "unknown"."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _NO_VALUE)


def content_digest(columns: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content, whatever the order of its columns; bytes count by their own SHA-256."""
    text = json.dumps(columns, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _plain(value: object) -> str:
    """Values that JSON can't express: bytes, dates, decimals."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
