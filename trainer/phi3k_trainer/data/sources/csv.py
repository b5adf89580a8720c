"""Source `csv`: rows between delimiters, with quoted values that may hold delimiters and line breaks."""

import csv
from collections import deque
from collections.abc import Iterator

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record, Remark
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
from phi3k_trainer.sources import CSV_SUFFIXES

_LONGEST_FIELD = 100_000_000  # characters; the csv module's own limit of 131,072 is below a long document
_TAB = "\t"


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows of CSV files with a header line (tabs in .tsv); every value is its text.

    Raises:
        DataError: a column is missing, or the file is damaged.
        MissingInputError: there is no such file.
    """
    files = table_files(section, CSV_SUFFIXES)
    for file in files:
        yield from csv_file(file, needed, section.image_columns)
    yield from left_out(section, files)


def csv_file(file: TableFile, needed: tuple[str, ...], pictures: tuple[str, ...]) -> Rows:
    """Rows of one file, and a remark where values over several lines seem to contain rows.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    delimiter = _TAB if table_suffix(file.path) == ".tsv" else ","
    rows = delimited_rows(text_lines(file.path, ""), delimiter)
    header = _header(file, rows)
    constants = {name: value for name, value in file.partitions.items() if name not in header}
    require_columns((*needed, *pictures), [*header, *constants], str(file.path))
    suspects: list[str] = []
    for number, values in rows:
        where = file.where(number)
        if isinstance(values, str):
            yield Rejection(where, "unreadable_row", f"{where}: {values}")
        elif len(values) == len(header):
            if any(_holds_row(value, len(header), delimiter) for value in values):
                suspects.append(where)
            yield Record(where, dict(zip(header, values, strict=True)) | constants, pictures, file.folder)
        else:
            detail = f"{where}: {len(values)} values for {len(header)} columns"
            yield Rejection(where, "unreadable_row", detail)
    if suspects:
        yield Remark(
            f"{len(suspects)} rows of {file.place} hold a quoted value over several lines that look like rows of their "
            f"own, the first in {suspects[0]}: check that no quotation mark is missing."
        )


def _holds_row(value: str, num_columns: int, delimiter: str) -> bool:
    """Whether a line behind the first in `value` has as many values as a row: two quotation marks may be missing."""
    behind = value.splitlines()[1:] if "\n" in value or "\r" in value else []
    return num_columns > 1 and any(len(values) == num_columns for values in csv.reader(behind, delimiter=delimiter))


def _header(file: TableFile, rows: Iterator[tuple[int, list[str] | str]]) -> list[str]:
    _, header = next(rows, (0, []))
    if isinstance(header, str):
        raise DataError(f"{file.path} has no header line that can be read: {header}")
    try:
        "".join(header).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{file.path} has a header that is not UTF-8: save the file as UTF-8") from error
    return header


def delimited_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The number of the line that each row begins in, and its values, or why it has none; blank lines are no rows.

    A quoted value whose closing quotation mark is missing, or is followed by more text, is a fault of the line that
    its row begins in. Reading continues with the next line, so no row is swallowed. In tab-separated text quotation
    marks are ordinary characters where they don't quote: such a line, and one whose quoted value would run over
    tabs and line breaks, is taken as it stands.
    """
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        number = source.begin_row()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = source.number
            source.give_back()
            yield number, _literal(source.taken[0]) if delimiter == _TAB else _fault(number, last, error)
            continue
        if delimiter == _TAB and any(_TAB in value and ("\n" in value or "\r" in value) for value in values):
            source.give_back()
            values = _literal(source.taken[0])
        if values:
            yield number, values


def _fault(first: int, last: int, error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a value is too long: {error}"
    lines = f"line {first}" if last == first else f"line {first} and is still open in line {last}"
    return f"a quotation mark that opens a value in {lines} is not closed before the value's end: {error}"


def _literal(line: str) -> list[str]:
    return line.rstrip("\r\n").split(_TAB)


class _Lines:
    """The lines of a file, of which those of the row that was begun last can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._returned: deque[str] = deque()
        self.taken: list[str] = []
        """The lines taken since the row began."""
        self.number = 0
        """The number of the line taken last, from 1."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._lines)
        self.taken.append(line)
        self.number += 1
        return line

    def begin_row(self) -> int:
        """Forget the lines taken so far; returns the number of the next one."""
        self.taken = []
        return self.number + 1

    def give_back(self) -> None:
        """Put all lines of this row but the first back."""
        self._returned.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]


READER = Reader(read)
