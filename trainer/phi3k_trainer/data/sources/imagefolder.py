"""Source `imagefolder`: a directory of pictures, with metadata.csv or metadata.jsonl or a folder a label."""

from collections.abc import Iterator
from pathlib import Path

from phi3k_trainer.data.quarantine import Rejection
from phi3k_trainer.data.row import Record
from phi3k_trainer.data.sources.files import data_path, require_columns
from phi3k_trainer.data.sources.lines import read_csv, read_jsonl
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.images.formats import OTHER_PICTURE_SUFFIXES, READ_SUFFIXES
from phi3k_trainer.recipe.data import DataSection

_PICTURE_SUFFIXES = READ_SUFFIXES | OTHER_PICTURE_SUFFIXES


def read_imagefolder(section: DataSection, needed: tuple[str, ...]) -> Iterator[Record | Rejection]:
    """Rows of each metadata file below `data.path`, in the layout of Hugging Face's ImageFolder.

    A metadata row names its picture in `file_name` (or several in the list `file_names`), relative to the metadata
    file. Without any metadata every picture is a row with the columns `file_name` and `label`, its folder's name.

    Raises:
        DataError: a column is missing.
        MissingInputError: the directory is not there, or has neither metadata nor pictures.
    """
    root = data_path(section)
    tables = sorted((*root.rglob("metadata.csv"), *root.rglob("metadata.jsonl")))
    if not tables:
        yield from _labelled_by_folder(root, needed)
    for table in tables:
        part = section.model_copy(update={"path": str(table)})
        read = read_csv if table.suffix == ".csv" else read_jsonl
        for record in read(part, needed, ()):
            yield record if isinstance(record, Rejection) else _with_picture(record, table)


def _with_picture(record: Record, table: Path) -> Record | Rejection:
    column = next((name for name in ("file_name", "file_names") if record.columns.get(name)), None)
    if column is None:
        return Rejection(record.where, "missing_image", f"neither file_name nor file_names in {table}")
    return Record(f"{table.parent.name}/{record.where}", record.columns, (column,), record.folder)


def _labelled_by_folder(root: Path, needed: tuple[str, ...]) -> Iterator[Record]:
    pictures = sorted(file for file in root.rglob("*") if file.suffix.lower() in _PICTURE_SUFFIXES)
    if not pictures:
        raise MissingInputError(
            f"data.path {root} has no metadata.csv, no metadata.jsonl and no picture "
            f"({', '.join(sorted(READ_SUFFIXES))})."
        )
    require_columns(needed, ("file_name", "label"), f"{root} (pictures without metadata)")
    for file in pictures:
        name = file.relative_to(root).as_posix()
        yield Record(name, {"file_name": name, "label": file.parent.name}, ("file_name",), root)
