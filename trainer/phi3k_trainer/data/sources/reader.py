"""What the module of a source offers: a reader of its rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record, Remark
from phi3k_trainer.data.sources.files import data_path
from phi3k_trainer.data.sources.folders import files_below
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.remote.mirror import fingerprint_of

Rows = Iterator[Record | Rejection | Remark]
Fingerprint = list[list[str | int]]


def fingerprint_of_files(section: DataSection) -> Fingerprint:
    """Name, size and time of each file of `data.path`; of an address, what the store reports of each object.

    Raises:
        MissingInputError: it is not there.
    """
    if section.path is not None and is_address(section.path):
        return fingerprint_of(section.path)
    path = data_path(section)
    files = files_below(path) if path.is_dir() else [path]
    stats = ((file, file.stat()) for file in files)
    return [[str(file), status.st_size, status.st_mtime_ns] for file, status in stats]


def nothing_to_make(section: DataSection, cache: Path) -> DataSection:  # noqa: ARG001
    """The section as it is: what `data.path` names is there already."""
    return section


@dataclass(frozen=True)
class Reader:
    """How a source is read."""

    read: Callable[[DataSection, tuple[str, ...]], Rows]
    """The rows of the section's data set, of which the named columns are needed, in no particular order.

    A row that can't be read is a rejection, and what is left out and is not a row, such as a file, is a remark.
    """
    fingerprint: Callable[[DataSection], Fingerprint] = fingerprint_of_files
    """A value that changes with the input."""
    make: Callable[[DataSection, Path], DataSection] = nothing_to_make
    """Makes what is to be read, below the directory of the cache if need be; returns the section with its path."""
