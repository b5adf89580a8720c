"""What a source yields, and what becomes of it: records, rows and their picture sources."""

from collections.abc import Mapping
from dataclasses import dataclass

from phi3k_trainer.prompts.conversation import Turn


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
