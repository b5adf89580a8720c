"""Source `jsonl`: a JSON object a line, or the objects of one JSON array."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record
from phi3k_trainer.data.sources.files import (
    TableFile,
    left_out,
    require_columns,
    table_files,
    table_suffix,
)
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.data.sources.text import text_lines
from phi3k_trainer.errors import DataError
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import JSONL_SUFFIXES

_LONGEST_INTEGER = 4000  # digits; Python converts 4,300 at most. A longer one stays text: it may be in an unused column


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows of JSON-lines files; a row whose picture column is absent or null has no picture.

    Raises:
        DataError: a needed column is in none of the rows.
        MissingInputError: there is no such file.
    """
    files = table_files(section, JSONL_SUFFIXES)
    yield from jsonl_files(files, needed, section.image_columns, str(section.path))
    yield from left_out(section, files)


def jsonl_files(
    files: Iterable[TableFile], needed: tuple[str, ...], pictures: tuple[str, ...], origin: str
) -> Iterator[Record | Rejection]:
    """Rows of several files, called `origin` in messages.

    Raises:
        DataError: a needed column or one with pictures is in none of the rows.
    """
    seen: dict[str, None] = {}
    for file in files:
        for record in _jsonl_file(file, pictures):
            if isinstance(record, Record):
                seen.update(dict.fromkeys(record.columns))
            yield record
    if seen:
        require_columns((*needed, *pictures), seen, origin)


def _jsonl_file(file: TableFile, pictures: tuple[str, ...]) -> Iterator[Record | Rejection]:
    for where, row in json_rows(file):
        if isinstance(row, Rejection):
            yield row
            continue
        columns = {**file.partitions, **row}
        yield Record(where, columns, tuple(name for name in pictures if columns.get(name) is not None), file.folder)


def json_rows(file: TableFile) -> Iterator[tuple[str, dict[str, Any] | Rejection]]:
    """Place and content of each JSON object: of the lines, or of the array in a `.json` file.

    Raises:
        DataError: the file is damaged, or is a `.json` file with neither an array nor lines of objects.
    """
    lines = text_lines(file.path, "\n")
    if table_suffix(file.path) != ".json":
        return _rows_of_lines(file, lines)
    first = next((line for line in lines if line.strip()), "")
    whole = chain([first], lines)
    if first.lstrip().startswith("["):
        return _rows_of_array(file, "".join(whole))
    if not first.strip().endswith("}"):
        raise DataError(f"{file.path} is neither a JSON array of objects nor one JSON object a line")
    return _rows_of_lines(file, whole)


def _rows_of_lines(file: TableFile, lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any] | Rejection]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = file.where(number)
        try:
            row = _parsed(line)
        except (ValueError, RecursionError) as error:
            yield where, Rejection(where, "unreadable_row", f"{where}: not JSON that can be read: {error}")
            continue
        yield where, _object(where, row)


def _rows_of_array(file: TableFile, text: str) -> Iterator[tuple[str, dict[str, Any] | Rejection]]:
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.path} is not JSON that can be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        where = f"{file.place}#{number}"
        yield where, _object(where, row)


def _object(where: str, row: object) -> dict[str, Any] | Rejection:
    return row if isinstance(row, dict) else Rejection(where, "unreadable_row", f"{where}: not a JSON object")


def _parsed(text: str) -> Any:
    return json.loads(text, parse_int=_integer, object_pairs_hook=_unique)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else digits


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; a name that appears twice is refused, since either value may be meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name '{twice}' appears twice in one object")
    return found


READER = Reader(read)
