"""Source `hf`: data sets of the Hugging Face hub, or a folder that `save_to_disk` wrote."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.credentials import refuse_hub_token_in_clear
from phi3k_trainer.data.sources.arrow import arrow_records
from phi3k_trainer.data.sources.files import names_local_path, require_columns
from phi3k_trainer.data.sources.reader import Fingerprint, Reader, Rows, fingerprint_of_files
from phi3k_trainer.errors import DataError, MissingInputError, UnavailableError
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.storage import blamed

_BATCH_ROWS = 64  # mapped from the disk, so the size of a batch matters only where rows are chosen one by one
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows of `data.split`; Image features are taken as the bytes they hold, class labels by their names.

    Only the needed columns and the pictures are read. A class label of -1 is no value.

    Raises:
        DataError: a column or the split is missing.
        MissingInputError: there is no such data set.
        UnavailableError: the hub can't be reached.
    """
    table, pictures = _load(section), section.image_columns
    used = list(dict.fromkeys((*needed, *pictures)))
    require_columns(used, table.column_names, str(section.path))
    folder = Path(section.image_root).expanduser().absolute() if section.image_root else None
    labels = {column: feature.names for column, feature in table.features.items() if hasattr(feature, "int2str")}
    # Without any column a table has no rows either.
    batches = table.select_columns(used or table.column_names[:1]).with_format("arrow").iter(_BATCH_ROWS)
    try:
        yield from arrow_records(batches, str(section.path), pictures, folder, labels, {})
    except (pa.ArrowException, OSError) as error:
        raise blamed(error, section.path, DataError(f"the data set '{section.path}' can't be read: {error}")) from error


def fingerprint(section: DataSection) -> Fingerprint:
    """The commit of a data set of the hub; of a directory, a value that changes with its files.

    Raises:
        MissingInputError: a local file or directory is not there.
        PermissionDeniedError: a token would go to HF_ENDPOINT in clear.
    """
    return fingerprint_of_files(section) if names_local_path(section) else [[str(section.path), hub_commit(section)]]


def is_saved_to_disk(path: Path) -> bool:
    """Whether `save_to_disk` of the `datasets` library wrote this directory."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def hub_commit(section: DataSection) -> str:
    """The commit that `data.revision` means now; the revision itself while the hub can't be asked.

    Raises:
        PermissionDeniedError: a token would go to HF_ENDPOINT in clear.
    """
    from huggingface_hub import HfApi

    refuse_hub_token_in_clear()
    revision = section.revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        return HfApi().dataset_info(str(section.path), revision=revision, timeout=10).sha or revision
    except Exception:  # the exceptions of the hub's HTTP library, whichever it is; loading will say what is wrong
        return revision


def _load(section: DataSection) -> Any:
    refuse_hub_token_in_clear()
    import datasets  # here because it takes over a second to import
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    path = Path(section.path or "").expanduser()
    try:
        if is_saved_to_disk(path):
            loaded = datasets.load_from_disk(str(path))
            return _split(loaded, section) if isinstance(loaded, datasets.DatasetDict) else loaded
        return datasets.load_dataset(section.path, revision=section.revision, split=section.split)
    except (DatasetNotFoundError, FileNotFoundError) as error:
        if problem := certificates_problem():
            raise UnavailableError(f"the data set '{section.path}' can't be loaded from the hub: {problem}") from error
        raise MissingInputError(
            f"there is no data set '{section.path}' on the hub or on this disk, or it needs a login "
            f"(set HF_TOKEN, or accept its terms on its page): {error}"
        ) from error
    except (ConnectionError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        raise UnavailableError(
            f"the data set '{section.path}' can't be loaded from the hub: {error}. Check the network, "
            "or point data.path at a folder that save_to_disk wrote"
        ) from error
    except (ValueError, OSError, RuntimeError, DatasetsError) as error:
        raise DataError(f"the data set '{section.path}' (split '{section.split}') can't be loaded: {error}") from error


def _split(splits: Any, section: DataSection) -> Any:
    if section.split not in splits:
        raise DataError(f"{section.path} has no split '{section.split}'; it has: {', '.join(splits)}; set data.split")
    return splits[section.split]


READER = Reader(read, fingerprint=fingerprint)
