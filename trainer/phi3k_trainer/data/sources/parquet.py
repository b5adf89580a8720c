"""Source `parquet`: columnar tables, streamed a few rows at a time."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from phi3k_trainer.data.quarantine import Rejection
from phi3k_trainer.data.row import Record
from phi3k_trainer.data.sources.files import PARQUET_SUFFIXES, picture_folder, require_columns, table_files
from phi3k_trainer.errors import DataError
from phi3k_trainer.recipe.data import DataSection

_ROWS_PER_BATCH = 64  # rows may carry pictures of megabytes


def read_parquet(
    section: DataSection, needed: tuple[str, ...], pictures: tuple[str, ...]
) -> Iterator[Record | Rejection]:
    """Rows of Parquet files; pictures are paths, URLs, bytes or structs of bytes and path.

    Raises:
        DataError: a column is missing, or the file is damaged.
        MissingInputError: there is no such file.
    """
    for file in table_files(section, PARQUET_SUFFIXES):
        folder = picture_folder(section, file)
        try:
            with pq.ParquetFile(file) as table:
                require_columns((*needed, *pictures), table.schema_arrow.names, str(file))
                number = 0
                for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH):
                    for row in batch.to_pylist():
                        number += 1
                        yield Record(f"{file.name}:{number}", row, pictures, folder)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} can't be read as Parquet: {error}.") from error
