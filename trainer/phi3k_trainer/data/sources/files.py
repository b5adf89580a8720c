"""Finding the files of a source, and saying what is wrong when they or their columns are not there."""

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.recipe.data import DataSection

JSONL_SUFFIXES = (".jsonl", ".ndjson")
CSV_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIXES = (".parquet",)
TABLE_SUFFIXES = (*JSONL_SUFFIXES, *CSV_SUFFIXES, *PARQUET_SUFFIXES)


def data_path(section: DataSection) -> Path:
    """The existing local file or directory that `data.path` names.

    Raises:
        MissingInputError: it is not there.
    """
    path = Path(section.path or "").expanduser().absolute()
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise MissingInputError(f"data.path {path} does not exist{_suggestion(path.name, siblings)}.")
    return path


def names_local_path(section: DataSection) -> bool:
    """Whether `data.path` means something on this disk (there or not) rather than a data set of the hub."""
    text = section.path or ""
    return text.startswith(("/", ".", "~")) or Path(text).suffix in TABLE_SUFFIXES or Path(text).exists()


def table_files(section: DataSection, suffixes: tuple[str, ...]) -> list[Path]:
    """The file `data.path`, or the files with one of `suffixes` under it when it is a directory, by name.

    Raises:
        MissingInputError: the path is not there, or is a directory without such files.
    """
    path = data_path(section)
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not files:
        raise MissingInputError(f"data.path {path} is a directory without any {' or '.join(suffixes)} file.")
    return files


def picture_folder(section: DataSection, file: Path) -> Path:
    """Where the relative picture paths in `file` start: `data.image_root`, or the file's own directory."""
    return Path(section.image_root).expanduser().absolute() if section.image_root else file.parent


def require_columns(needed: Iterable[str], available: Collection[str], origin: str) -> None:
    """Raise a DataError naming the columns there are, with the nearest, when one of `needed` is not among them."""
    missing = [name for name in needed if name not in available]
    if missing:
        suggestions = "".join(f" '{name}' is missing{_suggestion(name, available)}." for name in missing)
        raise DataError(
            f"{origin} lacks columns that the recipe's data section uses:{suggestions} "
            f"The columns are: {', '.join(available) or 'none'}."
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f" (did you mean '{names[nearest[0]]}'?)" if nearest else ""
