"""Data whose `data.path` is an address: its tables are copied to the cache before they are read."""

from collections.abc import Callable
from pathlib import PurePosixPath

from phi3k_trainer.data.rows.row import Remark
from phi3k_trainer.data.sources.files import MAYBE_TABLES, cache_of, table_suffix
from phi3k_trainer.data.sources.folders import NAMES_SHOWN, is_leftover
from phi3k_trainer.files import printable
from phi3k_trainer.progress import ProgressCallback
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.remote.addresses import is_address
from phi3k_trainer.remote.mirror import bring
from phi3k_trainer.sources import source_named


def bring_tables(section: DataSection, progress: ProgressCallback | None) -> tuple[Remark, ...]:
    """Copy what `data.path` names to the cache, where it is an address; else do nothing.

    A source that reads tables has only its tables copied: the pictures that their rows name are read one by one, into
    the store. Other sources have everything copied.

    Returns:
        What lies there, may be meant, and was not copied.

    Raises:
        DataError, StorageError, MissingInputError, PermissionDeniedError, UnavailableError: see `bring`.
    """
    if section.path is None or not is_address(section.path):
        return ()
    left = bring(section.path, cache_of(section), _wanted(section.source), progress)
    leftovers = [name for name in left if _is_leftover(name)]
    others = [name for name in left if not _is_leftover(name) and PurePosixPath(name).suffix.lower() in MAYBE_TABLES]
    reads = f"source '{section.source}' does not read them"
    texts = {
        f"{len(leftovers)} hidden or temporary objects below {section.path} are not read": leftovers,
        f"{len(others)} objects below {section.path} may be tables, but {reads}": others,
    }
    return tuple(Remark(f"{text}: {_shown(names)}.") for text, names in texts.items() if names)


def _wanted(source: str) -> Callable[[str], bool]:
    suffixes = source_named(source).tables
    return lambda name: not _is_leftover(name) and (suffixes is None or table_suffix(PurePosixPath(name)) in suffixes)


def _is_leftover(name: str) -> bool:
    return any(is_leftover(part) for part in name.split("/"))


def _shown(names: list[str]) -> str:
    return ", ".join(map(printable, names[:NAMES_SHOWN])) + (", ..." if len(names) > NAMES_SHOWN else "")
