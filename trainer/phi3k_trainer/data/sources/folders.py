"""What lies below a directory of data: its files, and what editors, notebooks and systems left there."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.files import printable
from phi3k_trainer.storage import blamed

# Names of what is never data: hidden (".", also macOS "._x" and Emacs ".#x"), backups and locks of editors and office
# programs, folders of archives and jobs, and what Windows puts into folders of pictures.
_LEFTOVERS = (
    *(".*", "*~", "~$*", "#*#", "*.bak", "*.orig", "*.swp", "*.tmp", "*.part", "*.crdownload"),
    *("__macosx", "__pycache__", "_temporary"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini"),
)
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
NAMES_SHOWN = 3
"""Names that a message shows."""


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name below a directory of data is not data."""
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _LEFTOVERS)


def files_below(root: Path) -> list[Path]:
    """The regular files below `root`, by name, without leftovers; links are followed, but not round in circles."""
    return sorted(path for path in _entries(root, ()) if not is_leftover(path.name))


def leftovers_below(root: Path) -> list[Path]:
    """The leftovers below `root`, by name; of a folder that is one, the folder alone."""
    return sorted(path for path in _entries(root, ()) if is_leftover(path.name))


def partition_columns(root: Path, file: Path) -> Mapping[str, str | None]:
    """The columns that the folders between `root` and `file` give, in Hive's layout `name=value`, as text."""
    pairs = (part.split("=", 1) for part in file.relative_to(root).parts[:-1] if "=" in part)
    return {unquote(name): None if value == _NO_PARTITION else unquote(value) for name, value in pairs}


def names(paths: Iterable[Path], root: Path) -> str:
    """The first paths relative to `root`, for messages."""
    shown = [printable(path.relative_to(root).as_posix()) for path in paths]
    return ", ".join(shown[:NAMES_SHOWN]) + (", ..." if len(shown) > NAMES_SHOWN else "")


def _entries(directory: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Every regular file and every leftover below `directory`."""
    here = directory.resolve()
    if here in above:
        return
    try:
        paths = list(directory.iterdir())
    except OSError as error:
        raise blamed(error, directory, MissingInputError(f"{directory} can't be listed: {error.strerror}")) from error
    for path in paths:
        if is_leftover(path.name):
            yield path
        elif path.is_dir():
            yield from _entries(path, (*above, here))
        elif path.is_file():
            yield path
