"""Sources `jsonl` and `csv`: a text line (or quoted lines) a row."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phi3k_trainer.data.quarantine import Rejection
from phi3k_trainer.data.row import Record
from phi3k_trainer.data.sources.files import (
    CSV_SUFFIXES,
    JSONL_SUFFIXES,
    picture_folder,
    require_columns,
    table_files,
)
from phi3k_trainer.errors import DataError
from phi3k_trainer.recipe.data import DataSection

_LONGEST_CSV_FIELD = 100_000_000  # characters; the csv module's own limit of 131,072 is below a long document


def read_jsonl(
    section: DataSection, needed: tuple[str, ...], pictures: tuple[str, ...]
) -> Iterator[Record | Rejection]:
    """Rows of JSON-lines files; a row whose picture column is absent or null has no picture.

    Raises:
        DataError: a needed column is in none of the rows.
        MissingInputError: there is no such file.
    """
    files = table_files(section, JSONL_SUFFIXES)
    seen: dict[str, None] = {}
    for file in files:
        folder = picture_folder(section, file)
        for where, row in json_lines(file):
            if isinstance(row, Rejection):
                yield row
                continue
            seen.update(dict.fromkeys(row))
            yield Record(where, row, tuple(name for name in pictures if row.get(name) is not None), folder)
    if seen:
        require_columns((*needed, *pictures), seen, str(section.path))


def json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any] | Rejection]]:
    """Place and content of each line that is not blank; a line that is no JSON object is a rejection."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield where, Rejection(where, "unreadable_row", f"not JSON: {error}")
                continue
            if isinstance(row, dict):
                yield where, row
            else:
                yield where, Rejection(where, "unreadable_row", "not a JSON object")


def read_csv(section: DataSection, needed: tuple[str, ...], pictures: tuple[str, ...]) -> Iterator[Record | Rejection]:
    """Rows of CSV files with a header line (tabs in .tsv); every value is the text that stands there.

    Raises:
        DataError: a column is missing, or the file is not UTF-8.
        MissingInputError: there is no such file.
    """
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    for file in table_files(section, CSV_SUFFIXES):
        yield from _read_csv_file(file, picture_folder(section, file), needed, pictures)


def _read_csv_file(
    file: Path, folder: Path, needed: tuple[str, ...], pictures: tuple[str, ...]
) -> Iterator[Record | Rejection]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        try:
            header = next(reader, [])
            require_columns((*needed, *pictures), header, str(file))
            for values in reader:
                where = f"{file.name}:{reader.line_num}"
                if not values:
                    continue
                if len(values) == len(header):
                    yield Record(where, dict(zip(header, values, strict=True)), pictures, folder)
                else:
                    yield Rejection(where, "unreadable_row", f"{len(values)} values for {len(header)} columns")
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file} can't be read as CSV near line {reader.line_num + 1}: {error}.") from error
