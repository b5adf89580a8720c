"""Source `dbq`: the schema of DBQ's product prices, from the hub or a local table; pictures stand in `imageurl`."""

from phi3k_trainer.data.sources import csv, hf, jsonl, parquet
from phi3k_trainer.data.sources.files import (
    data_path,
    names_local_path,
    table_suffix,
)
from phi3k_trainer.data.sources.folders import files_below
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import CSV_SUFFIXES, JSONL_SUFFIXES, PARQUET_SUFFIXES


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows as the source reads them whose files `data.path` names.

    Raises:
        DataError, MissingInputError, UnavailableError: as that source does.
    """
    if not names_local_path(section):
        return hf.read(section, needed)
    path = data_path(section)
    suffixes = {table_suffix(file) for file in (files_below(path) if path.is_dir() else [path])}
    readers = {PARQUET_SUFFIXES: parquet.read, JSONL_SUFFIXES: jsonl.read, CSV_SUFFIXES: csv.read}
    for known, read_tables in readers.items():
        if suffixes.intersection(known):
            return read_tables(section, needed)
    return hf.read(section, needed)


READER = Reader(read, fingerprint=hf.fingerprint)
