"""What a source yields, and what becomes of it: records, rows and their picture sources."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_trainer.prompts.conversation import Turn


@dataclass(frozen=True)
class Record:
    """One record as a source has read it."""

    where: str
    """Its place for messages, such as `rows.csv:17`."""
    columns: Mapping[str, Any]
    picture_columns: tuple[str, ...]
    """Columns that hold this record's pictures, in order."""
    folder: Path | None
    """Where relative picture paths start; None where the source has no directory."""
    turns: tuple[Turn, ...] | None = None
    """The conversation, where the source brings its own instead of the recipe's templates."""


@dataclass(frozen=True)
class ImageSource:
    """Where one picture comes from: exactly one of the two is given."""

    location: str | None = None
    """An http(s) URL or an absolute path."""
    data: bytes | None = None
    """The encoded picture itself."""


@dataclass(frozen=True)
class Row:
    """One sample before its pictures are fetched."""

    key: str
    """Identity across versions of the data: the key column's value, or a hash of the row's content."""
    digest: str
    """SHA-256 of the row's content; two rows with the same key and digest are the same row."""
    images: tuple[ImageSource, ...]
    turns: tuple[Turn, ...]
    fields: Mapping[str, str]
    """The answer's fields as they stand in the answer; empty for conversations without a template."""


def content_digest(columns: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content, whatever the order of its columns; bytes count by their own SHA-256."""
    text = json.dumps(columns, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _plain(value: object) -> str:
    """What JSON has no word for: bytes, dates, decimals."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
