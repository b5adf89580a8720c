"""Where rows come from: one module a kind of file, all yielding records.

`open_source` is the one way in.
"""

from collections.abc import Iterator

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record, Remark
from phi3k_trainer.data.sources.delimited import read_csv
from phi3k_trainer.data.sources.files import (
    CSV_SUFFIXES,
    JSONL_SUFFIXES,
    PARQUET_SUFFIXES,
    data_path,
    names_local_path,
    table_suffix,
)
from phi3k_trainer.data.sources.folders import files_below
from phi3k_trainer.data.sources.hub import hub_commit, read_hub
from phi3k_trainer.data.sources.imagefolder import read_imagefolder
from phi3k_trainer.data.sources.lines import read_jsonl
from phi3k_trainer.data.sources.llava import read_llava
from phi3k_trainer.data.sources.parquet import read_parquet
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.remote.mirror import fingerprint_of

_DBQ_PICTURE = "imageurl"


def open_source(section: DataSection, needed: tuple[str, ...]) -> Iterator[Record | Rejection | Remark]:
    """The records of the recipe's data set, in no particular order; a row that can't be read is a rejection.

    What is left out and is not a row, such as files that are not read, is a remark.

    Args:
        section: The recipe's section `data`; of the source `sample`, with the path of the catalogue's table.
        needed: Columns that templates and key use.

    Raises:
        DataError: a column is missing, or a file is damaged.
        MissingInputError: a file or data set is not there.
        UnavailableError: the hub can't be reached.
    """
    match section.source:
        case "dbq" | "sample":
            return _read_dbq(section, needed)
        case "hf":
            return read_hub(section, needed, section.image_columns)
        case "jsonl":
            return read_jsonl(section, needed, section.image_columns)
        case "csv":
            return read_csv(section, needed, section.image_columns)
        case "parquet":
            return read_parquet(section, needed, section.image_columns)
        case "imagefolder":
            return read_imagefolder(section, needed)
        case "llava":
            return read_llava(section)


def fingerprint(section: DataSection) -> list[list[str | int]]:
    """What tells whether the input has changed: name, size and time of each file, or the hub's commit.

    Raises:
        MissingInputError: a local file or directory is not there.
    """
    if section.source in ("hf", "dbq") and not names_local_path(section):
        return [[str(section.path), hub_commit(section)]]
    if section.path is not None and is_address(section.path):
        return fingerprint_of(section.path)
    path = data_path(section)
    files = files_below(path) if path.is_dir() else [path]
    stats = ((file, file.stat()) for file in files)
    return [[str(file), status.st_size, status.st_mtime_ns] for file, status in stats]


def _read_dbq(section: DataSection, needed: tuple[str, ...]) -> Iterator[Record | Rejection | Remark]:
    """The schema of DBQ's product prices, from the hub or a local table; pictures stand in `imageurl`."""
    # The schema has no column `image`: the field's default means the schema's picture column.
    pictures = (_DBQ_PICTURE,) if section.image == "image" else section.image_columns
    if not names_local_path(section):
        return read_hub(section, needed, pictures)
    path = data_path(section)
    suffixes = {table_suffix(file) for file in (files_below(path) if path.is_dir() else [path])}
    readers = {PARQUET_SUFFIXES: read_parquet, JSONL_SUFFIXES: read_jsonl, CSV_SUFFIXES: read_csv}
    for known, read in readers.items():
        if suffixes.intersection(known):
            return read(section, needed, pictures)
    return read_hub(section, needed, pictures)
