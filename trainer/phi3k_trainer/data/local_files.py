"""The files of this machine that a recipe's data consists of: what its path names, and the pictures of its rows."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from phi3k_trainer.data.reading import RowBuilder
from phi3k_trainer.data.rows.row import Record, Row
from phi3k_trainer.data.sources import reader_of
from phi3k_trainer.data.sources.files import data_path, names_local_path, table_suffix
from phi3k_trainer.data.sources.folders import files_below
from phi3k_trainer.errors import DataError, UsageError
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.sources import source_named

_ELSEWHERE = Path("/elsewhere")


@dataclass(frozen=True)
class LocalFiles:
    """What has to be where training is."""

    base: Path
    """The folder that all of them lie in."""
    pictures: tuple[Path, ...]
    """Those that rows name and that are there, each once."""
    sources: tuple[Path, ...]
    """What `data.path` is, or what is read below it."""
    path: Path
    """`data.path` itself."""
    image_root: Path | None
    missing: int
    """Pictures that rows name and that are not there: their rows are set aside, there as here."""
    addresses: int
    """Pictures that are fetched from where they are, from the web or an object store."""


def local_files(section: DataSection) -> LocalFiles:
    """Find the files of `section`; all of its rows are read.

    Raises:
        UsageError: the data is not on this machine.
        DataError: a row names its picture by an absolute path, which no other machine has; or the source is damaged.
        MissingInputError: the source is not there.
    """
    if source_named(section.source).reads == "nothing" or not names_local_path(section) or is_address(section.path):
        raise UsageError(f"source '{section.source}' reads nothing of this machine: there is nothing to push")
    path = data_path(section)
    sources = _sources(section, path)
    named_root = section.image_root if section.image_root and not is_address(section.image_root) else None
    image_root = Path(named_root).expanduser().absolute() if named_root else None
    named = dict.fromkeys(_pictures(section))
    pictures = [Path(os.path.normpath(name)) for name in named if name.startswith("/")]
    there = list(dict.fromkeys(picture for picture in pictures if picture.is_file()))
    folders = [path if path.is_dir() else path.parent, *(picture.parent for picture in there)]
    base = Path(os.path.commonpath([*folders, *([image_root] if image_root else [])]))
    return LocalFiles(
        base,
        tuple(picture for picture in there if picture not in sources),
        tuple(sources),
        path,
        image_root,
        missing=len(pictures) - sum(picture.is_file() for picture in pictures),
        addresses=len(named) - len(pictures),
    )


def _sources(section: DataSection, path: Path) -> dict[Path, None]:
    if path.is_file():
        return {path: None}
    suffixes = source_named(section.source).tables
    return dict.fromkeys(file for file in files_below(path) if suffixes is None or table_suffix(file) in suffixes)


def _pictures(section: DataSection) -> Iterator[str]:
    """Yield where the pictures of the rows are: absolute paths and addresses."""
    builder = RowBuilder(section)
    for record in reader_of(section.source).read(section, builder.used_columns):
        row = builder.build(record) if isinstance(record, Record) else None
        if not isinstance(record, Record) or not isinstance(row, Row):
            continue
        elsewhere = builder.build(replace(record, folder=_ELSEWHERE))
        for number, image in enumerate(row.images):
            location = image.location or ""
            if location.startswith("/") and isinstance(elsewhere, Row) and elsewhere.images[number] == image:
                raise DataError(
                    f"{record.where} names its picture by the absolute path {location}, which does not exist in the "
                    "cluster: write paths relative to the table, or to data.image_root"
                )
            if location:
                yield location
