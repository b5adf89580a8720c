"""Source `imagefolder`: a directory of pictures, with metadata.csv, .jsonl or .parquet, or a folder a label."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record, Remark
from phi3k_trainer.data.sources.csv import csv_file
from phi3k_trainer.data.sources.files import TableFile, data_path, left_out, require_columns, table_file
from phi3k_trainer.data.sources.folders import files_below, names
from phi3k_trainer.data.sources.jsonl import jsonl_files
from phi3k_trainer.data.sources.parquet import parquet_file
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.images.formats import OTHER_PICTURE_SUFFIXES, READ_SUFFIXES
from phi3k_trainer.recipe.data import DataSection

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PICTURE_SUFFIXES = READ_SUFFIXES | OTHER_PICTURE_SUFFIXES


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows of each metadata file below `data.path`, in the layout of Hugging Face's ImageFolder.

    A metadata row names its picture in `file_name` (or several in the list `file_names`), relative to the metadata
    file. Without any metadata every picture is a row with the columns `file_name` and `label`, its folder's name.

    Raises:
        DataError: a column is missing.
        MissingInputError: the directory is not there, or has neither metadata nor pictures.
    """
    root = data_path(section)
    if not root.is_dir():
        raise MissingInputError(f"data.path {root} is a file: source 'imagefolder' reads the directory it is in")
    files = files_below(root)
    tables = [table_file(section, file) for file in files if file.name in _METADATA]
    pictures = [file for file in files if file.suffix.lower() in _PICTURE_SUFFIXES]
    if tables:
        yield from _described(tables, pictures, root, needed)
    else:
        yield from _labelled_by_folder(root, pictures, needed)
    yield from left_out(section, tables)


def _described(tables: Iterable[TableFile], pictures: Iterable[Path], root: Path, needed: tuple[str, ...]) -> Rows:
    named: set[Path] = set()
    for table in tables:
        for record in _metadata(table, needed):
            described = _with_picture(record) if isinstance(record, Record) else record
            if isinstance(described, Record):
                value = described.columns[described.picture_columns[0]]
                each = value if isinstance(value, list | tuple) else [value]
                named.update(table.path.parent / name for name in each if isinstance(name, str))
            yield described
    others = [file for file in pictures if file not in named]
    if others:
        text = f"{len(others)} pictures below {root} are in no metadata and are not used: {names(others, root)}."
        yield Remark(text)


def _metadata(table: TableFile, needed: tuple[str, ...]) -> Rows:
    match table.path.suffix:
        case ".csv":
            return csv_file(table, needed, ())
        case ".jsonl":
            return jsonl_files([table], needed, (), str(table.path))
        case _:
            return parquet_file(table, (*needed, "file_name"), ())


def _with_picture(record: Record) -> Record | Rejection:
    column = next((name for name in ("file_name", "file_names") if record.columns.get(name)), None)
    if column is None:
        return Rejection(record.where, "missing_image", f"{record.where}: neither file_name nor file_names")
    return replace(record, picture_columns=(column,))


def _labelled_by_folder(root: Path, pictures: list[Path], needed: tuple[str, ...]) -> Iterator[Record]:
    if not pictures:
        raise MissingInputError(
            f"data.path {root} has none of {', '.join(_METADATA)} and no picture ({', '.join(sorted(READ_SUFFIXES))})"
        )
    require_columns(needed, ("file_name", "label"), f"{root} (pictures without metadata)")
    for file in pictures:
        name = file.relative_to(root).as_posix()
        yield Record(name, {"file_name": name, "label": file.parent.name}, ("file_name",), root)


READER = Reader(read)
