"""The model that a run began with: recorded, and compared whenever its weights are needed again."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config

from phi3k_trainer.errors import DataError
from phi3k_trainer.files import convert, damage_named, damaged, read_json, reading
from phi3k_trainer.model.loading import hub_commit, resolve_base
from phi3k_trainer.model.stored import weight_files
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.model import TINY
from phi3k_trainer.run_directory import RunDirectory

_READ_BESIDES_WEIGHTS = ("config.json", "tokenizer.json")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class BaseRecord:
    """What the model in model.base was."""

    base: str
    """As the recipe names it."""
    commit: str | None
    """The hub's commit, None for a directory."""
    files: Mapping[str, str]
    """SHA-256 of the weights, the configuration and the tokenizer, by the file's name."""


def record_base(recipe: Recipe, directory: Path) -> BaseRecord:
    """The record of the model in `directory`, which is the recipe's base; all of its weights are read.

    Raises:
        MissingInputError: a file is not there, or can't be read.
    """
    files = [*weight_files(directory), *(directory / name for name in _READ_BESIDES_WEIGHTS)]
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(_sha256, files))
    names = [file.name for file in files]
    return BaseRecord(
        recipe.model.base, hub_commit(recipe.model.base, directory), dict(zip(names, digests, strict=True))
    )


def _sha256(path: Path) -> str:
    try:
        with reading(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error, "Check model.base") from error


def read_base_record(path: Path, remedy: str) -> BaseRecord | None:
    """The record in a file; None where there is none, as in runs of versions that made none.

    Raises:
        MissingInputError: the file holds something else.
    """
    if not path.exists():
        return None
    with damage_named(path, remedy):
        return convert(BaseRecord, read_json(path, remedy))


def find_base(recipe: Recipe, directory: RunDirectory, recorded: BaseRecord | None) -> Path:
    """The directory of the model that a run starts from: of a hub's repository, the commit that was recorded."""
    if recipe.model.base == TINY:
        return directory.base
    commit = recorded.commit if recorded else None
    return resolve_base(recipe.model.base, commit or recipe.model.revision, recipe.data.cache)


def check_base(recorded: BaseRecord, found: BaseRecord, run: Path, directory: Path) -> None:
    """Compare the model in `directory` with the one that the run in `run` began with.

    Raises:
        DataError: they differ.
    """
    names = recorded.files.keys() | found.files.keys()
    different = sorted(name for name in names if recorded.files.get(name) != found.files.get(name))
    if different:
        raise DataError(
            f"the base model in {directory} is no longer what the run in {run} began with: {', '.join(different)} "
            "changed. The trained weights need the original ones. Put these files back, or start a new run "
            "under another name"
        )
