"""Source `sample`: rendered products in the schema of `dbq`, drawn when they are needed."""

import hashlib
from pathlib import Path

from phi3k_trainer.data.sample.catalogue import write_catalogue
from phi3k_trainer.data.sources.parquet import read
from phi3k_trainer.data.sources.reader import Reader
from phi3k_trainer.files import locked
from phi3k_trainer.recipe.data import DataSection


def draw(section: DataSection, cache: Path) -> DataSection:
    """Draw the catalogue in the directory `data.path`, or in the cache, unless it is there.

    Returns:
        The section with the path of the catalogue's table.

    Raises:
        OutputError: the directory holds something else.
        StorageError: writing failed.
    """
    content = hashlib.sha256(section.sample.model_dump_json().encode()).hexdigest()
    directory = Path(section.path).expanduser().absolute() if section.path else cache / "sample" / content[:16]
    with locked(directory.with_name(f"{directory.name}.lock")):
        table = write_catalogue(section.sample, directory)
    return section.model_copy(update={"path": str(table)})


READER = Reader(read, make=draw)
