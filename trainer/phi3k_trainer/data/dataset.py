"""The one way from a recipe's data section to training and evaluation examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.data.progress import ProgressCallback
from phi3k_trainer.data.quarantine import QuarantineReport
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.recipe.recipe import Recipe


@dataclass(frozen=True)
class StoredImage:
    """A verified picture on disk."""

    path: Path
    sha256: str
    width: int
    """Pixels as displayed, after the EXIF rotation."""
    height: int


@dataclass(frozen=True)
class Example:
    """One sample that can be encoded: a conversation and its pictures, in the order of their tags."""

    key: str
    turns: tuple[Turn, ...]
    images: tuple[StoredImage, ...]
    fields: Mapping[str, str]
    """The answer's fields as strings as they stand in the answer; empty for `llava`."""


@dataclass(frozen=True)
class Dataset:
    """Both sides of the split, in the order of the key's hash, and what was set aside."""

    train: Sequence[Example]
    evaluation: Sequence[Example]
    quarantine: QuarantineReport
    digest: str
    """SHA-256 of all examples before the split: the same digest is the same data, down to the pictures."""


def prepare_dataset(recipe: Recipe, run_directory: Path | None, progress: ProgressCallback | None = None) -> Dataset:
    """Read, fetch, verify and split the recipe's data."""
    raise NotImplementedError
