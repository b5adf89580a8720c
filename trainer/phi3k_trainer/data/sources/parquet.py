"""Source `parquet`: columnar tables, streamed a few megabytes at a time."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record
from phi3k_trainer.data.sources.arrow import arrow_records, class_names
from phi3k_trainer.data.sources.files import (
    TableFile,
    data_path,
    left_out,
    require_columns,
    table_files,
)
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.errors import DataError
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import PARQUET_SUFFIXES
from phi3k_trainer.storage import blamed

_BATCH_BYTES = 16_000_000
_BATCH_ROWS = 1024


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows of Parquet files; pictures are paths, URLs, bytes or structs of bytes and path.

    Raises:
        DataError: a column is missing, or a file is damaged.
        MissingInputError: there is no such file.
    """
    files = table_files(section, PARQUET_SUFFIXES)
    if (data_path(section) / "_delta_log").is_dir():
        raise DataError(
            f"data.path {section.path} is a Delta table, whose log decides which of its files count; it is not read. "
            "Write the rows you want to plain Parquet files"
        )
    for file in files:
        yield from parquet_file(file, needed, section.image_columns)
    yield from left_out(section, files)


def parquet_file(file: TableFile, needed: tuple[str, ...], pictures: tuple[str, ...]) -> Iterator[Record | Rejection]:
    """Rows of one file, of which only the needed columns and the pictures are read.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    used = tuple(dict.fromkeys((*needed, *pictures)))
    try:
        with pq.ParquetFile(file.path) as table:
            schema = table.schema_arrow
            constants = {name: value for name, value in file.partitions.items() if name not in schema.names}
            require_columns(used, [*schema.names, *constants], str(file.path))
            columns = tuple(name for name in used if name in schema.names)
            chosen = {name: value for name, value in constants.items() if name in used}
            batches = _batches(file, table.metadata, columns)
            yield from arrow_records(batches, file.place, pictures, file.folder, class_names(schema), chosen)
    except (pa.ArrowException, OSError) as error:
        raise blamed(error, file.path, DataError(f"{file.path} can't be read as Parquet: {error}")) from error


def _batches(file: TableFile, metadata: pq.FileMetaData, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The used columns in parts of about `_BATCH_BYTES`.

    Values that the file holds once, in a dictionary, are kept once: a text of megabytes in every row of a small file
    would not fit into memory row by row.
    """
    repeated = {
        chunk.path_in_schema
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY"
    }
    with pq.ParquetFile(file.path, metadata=metadata, read_dictionary=sorted(repeated)) as table:
        for number in range(metadata.num_row_groups):
            rows = _rows_per_batch(metadata.row_group(number), columns)
            yield from table.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False)


def _rows_per_batch(group: pq.RowGroupMetaData, columns: tuple[str, ...]) -> int:
    chunks = map(group.column, range(group.num_columns))
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES * group.num_rows / max(size, 1))))


READER = Reader(read)
