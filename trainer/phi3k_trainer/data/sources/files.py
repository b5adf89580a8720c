"""Finding the files of a source, and the errors when they or their columns are not there."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from phi3k_trainer.data.rows.row import Folder, Remark
from phi3k_trainer.data.sources.folders import files_below, leftovers_below, names, partition_columns
from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.files import printable
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import has_pattern, is_address, joined, parent
from phi3k_trainer.remote.mirror import mirror_path
from phi3k_trainer.sources import CSV_SUFFIXES, JSONL_SUFFIXES, PARQUET_SUFFIXES, source_named

TABLE_SUFFIXES = (*JSONL_SUFFIXES, *CSV_SUFFIXES, *PARQUET_SUFFIXES)
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".zst")
"""Endings that a text table may have behind its own: `rows.csv.gz`."""

# Endings that no source reads, of tables and of what tables are packed into.
_UNREAD_SUFFIXES = (
    *(".arrow", ".feather", ".orc", ".avro", ".xls", ".xlsx", ".ods", ".pkl", ".npz", ".h5", ".db", ".sqlite"),
    *(".tfrecord", ".lz4", ".xz", ".br", ".zip", ".tar", ".tgz", ".7z", ".rar"),
)
MAYBE_TABLES = (*TABLE_SUFFIXES, *COMPRESSED_SUFFIXES, *_UNREAD_SUFFIXES, ".json", ".txt")
"""Endings of what may hold rows: such files are named when a source leaves them out."""


@dataclass(frozen=True)
class TableFile:
    """One file with rows."""

    path: Path
    place: str
    """Its name for messages: below `data.path`, where that is a directory."""
    folder: Folder
    """Where its relative picture paths start: `data.image_root`, or its own folder."""
    partitions: Mapping[str, str | None]
    """Columns that stand in the names of its folders (`split=train`), for all of its rows."""

    def where(self, number: int) -> str:
        """The place of a row for messages, such as `rows.csv:17`."""
        return f"{self.place}:{number}"


def cache_of(section: DataSection) -> Path:
    """The directory `data.cache`."""
    return Path(section.cache).expanduser().absolute()


def data_path(section: DataSection) -> Path:
    """The existing local file or directory that `data.path` names; of an address, the copy of what lies there.

    Raises:
        MissingInputError: it is not there.
    """
    if is_address(section.path):
        return mirror_path(str(section.path), cache_of(section))
    path = Path(section.path or "").expanduser().absolute()
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise MissingInputError(f"data.path {path} does not exist{_suggestion(path.name, siblings)}")
    if not (path.is_file() or path.is_dir()):
        raise MissingInputError(f"data.path {path} is neither a file nor a directory, but a device, pipe or socket")
    return path


def names_local_path(section: DataSection) -> bool:
    """Whether `data.path` means files, here or in an object store (there or not), rather than a data set of the hub."""
    text = section.path or ""
    return (
        is_address(text)
        or text.startswith(("/", ".", "~"))
        or table_suffix(Path(text)) in TABLE_SUFFIXES
        or Path(text).exists()
    )


def table_suffix(path: PurePath) -> str:
    """The ending that says what kind of table a file is: `.csv` of `rows.csv` and `rows.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if len(suffixes) == 2 and suffixes[1] in COMPRESSED_SUFFIXES and suffixes[0] not in PARQUET_SUFFIXES:
        return suffixes[0]
    return suffixes[-1] if suffixes else ""


def table_files(section: DataSection, suffixes: tuple[str, ...]) -> list[TableFile]:
    """The file `data.path`, or the files with one of `suffixes` under it when it is a directory, by name.

    Raises:
        DataError: it is a file whose ending says that it is something else.
        MissingInputError: the path is not there, or is a directory without such files.
    """
    root = data_path(section)
    if root.is_file():
        _refuse_other_kind(section, root, suffixes)
        return [table_file(section, root)]
    files = files_below(root)
    chosen = [file for file in files if table_suffix(file) in suffixes]
    if not chosen:
        others = f"; there are {names(files, root)}" if files else ""
        raise MissingInputError(f"data.path {root} is a directory without any {' or '.join(suffixes)} file{others}")
    return [table_file(section, file) for file in chosen]


def _refuse_other_kind(section: DataSection, file: Path, suffixes: tuple[str, ...]) -> None:
    suffix = table_suffix(file)
    if suffix not in suffixes and suffix in (*TABLE_SUFFIXES, *_UNREAD_SUFFIXES):
        raise DataError(
            f"data.path {file} ends in {suffix}, which source '{section.source}' does not read: it reads "
            f"{', '.join(suffixes)} (text also compressed: {', '.join(COMPRESSED_SUFFIXES)})"
        )


def table_file(section: DataSection, file: Path) -> TableFile:
    """A file that is `data.path` itself or lies below it."""
    root = data_path(section)
    folder = _folder(section, root, file)
    if root.is_file():
        return TableFile(file, printable(file.name), folder, {})
    return TableFile(file, printable(file.relative_to(root).as_posix()), folder, partition_columns(root, file))


def _folder(section: DataSection, root: Path, file: Path) -> Folder:
    if section.image_root is not None:
        named = section.image_root
        return named if is_address(named) else Path(named).expanduser().absolute()
    if section.path is None or not is_address(section.path) or source_named(section.source).tables is None:
        return file.parent
    # Only the table is here; its pictures are where it came from.
    is_below = root.is_dir() and not has_pattern(section.path)
    above = section.path.rstrip("/") if is_below else parent(section.path)
    return joined(above, file.parent.relative_to(root).as_posix()) if root.is_dir() else above


def left_out(section: DataSection, read: Iterable[TableFile]) -> Iterator[Remark]:
    """What lies below the directory `data.path` and is not read although it might be meant: leftovers, other tables."""
    root = data_path(section)
    if root.is_file():
        return
    leftovers = leftovers_below(root)
    if leftovers:
        yield Remark(
            f"{len(leftovers)} hidden or temporary files and folders below {root} are not read: "
            f"{names(leftovers, root)}."
        )
    known = {file.path for file in read}
    others = [file for file in files_below(root) if file not in known and file.suffix.lower() in MAYBE_TABLES]
    if others:
        yield Remark(
            f"{len(others)} files below {root} may be tables, but source '{section.source}' does not read them: "
            f"{names(others, root)}."
        )


def require_columns(needed: Iterable[str], available: Collection[str], origin: str) -> None:
    """Raise a DataError naming the columns there are, with the nearest, when one of `needed` is not among them.

    A column that is needed must also stand there only once.
    """
    missing = [name for name in needed if name not in available]
    if missing:
        suggestions = "".join(f" '{name}' is missing{_suggestion(name, available)}." for name in missing)
        raise DataError(
            f"{origin} lacks columns that the recipe's data section uses:{suggestions} "
            f"The columns are: {', '.join(available) or 'none'}"
        )
    repeated = [name for name in dict.fromkeys(needed) if list(available).count(name) > 1]
    if repeated:
        raise DataError(f"{origin} has several columns named '{repeated[0]}': rename all but the one that is meant")


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f" (did you mean '{names[nearest[0]]}'?)" if nearest else ""
