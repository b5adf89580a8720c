"""The table beside the pictures: the DBQ schema, written in pieces, and the directory it appears in at once."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi3k_trainer.errors import OutputError, StorageError

TABLE_NAME = "catalogue.parquet"
MARKER_NAME = "catalogue.json"
ROWS_A_GROUP = 1000

SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("website_name", "competence_date", "country_code", "currency_code", "brand")
        ),
        *((name, pa.string()) for name in ("category1_code", "category2_code", "category3_code")),
        ("product_code", pa.int64()),
        *((name, pa.string()) for name in ("title", "itemurl", "imageurl")),
        *((name, pa.float64()) for name in ("full_price", "price", "full_price_eur", "price_eur")),
        ("flg_discount", pa.int64()),
    ]
)
"""The columns of the real product price sets, in their order."""


def write_once(directory: Path, made_from: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """Has `write` fill a directory that appears complete or not at all; does nothing when it is already there.

    `made_from` identifies the input of the content; it is written to the marker file. Several processes may call this
    at once: the first to finish wins, the others use its result.

    Raises:
        OutputError: the directory holds something else.
        StorageError: writing failed, for example because the disk is full.
    """
    if _is_there(directory, made_from):
        return directory / TABLE_NAME
    unfinished = directory.parent / f".{directory.name}.{uuid.uuid4().hex[:8]}.unfinished"
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        marker = json.dumps(made_from, indent=2, sort_keys=True) + "\n"
        (unfinished / MARKER_NAME).write_text(marker, encoding="utf-8")
        _move(unfinished, directory, made_from)
    except OSError as error:
        raise StorageError(f"writing the sample catalogue to {directory} failed: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return directory / TABLE_NAME


def _is_there(directory: Path, made_from: Mapping[str, object]) -> bool:
    try:
        marker = json.loads((directory / MARKER_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        marker = None
    except ValueError:
        marker = {}
    if marker == made_from:
        return True
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(
            f"{directory} holds something else than this sample catalogue: choose another directory or remove it"
        )
    return False


def _move(unfinished: Path, directory: Path, made_from: Mapping[str, object]) -> None:
    try:
        unfinished.replace(directory)
    except OSError:
        if not _is_there(directory, made_from):  # else another process has just finished the same catalogue
            raise


def write_table(rows: Iterable[Mapping[str, Any]], path: Path, schema: pa.Schema = SCHEMA) -> None:
    """Writes rows as Parquet without holding more than a row group of them."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting = iter(rows)
        while group := list(islice(waiting, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))
