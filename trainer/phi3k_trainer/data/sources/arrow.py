"""From Arrow's columns to records, one value at a time, of the used columns only."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Folder, Record

_NO_LABEL = -1  # what Hugging Face's sets hold where the label is not known, as in test splits


def class_names(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """The names of the classes of each ClassLabel column, as the library `datasets` notes them in a table's schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labels = {name: each for name, each in features.items() if each.get("_type") == "ClassLabel"}
        return {name: tuple(each["names"]) for name, each in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def arrow_records(
    batches: Iterable[pa.RecordBatch | pa.Table],
    place: str,
    pictures: tuple[str, ...],
    folder: Folder | None,
    labels: Mapping[str, Sequence[str]],
    constants: Mapping[str, str | None],
) -> Iterator[Record | Rejection]:
    """The rows of `batches`; one with a value that Python can't represent is a rejection.

    Args:
        batches: Parts of one table, with the used columns only.
        place: What the table is called in messages.
        pictures: Columns with pictures.
        folder: Where relative picture paths start.
        labels: The names of the classes of ClassLabel columns.
        constants: Further columns, the same in all rows.
    """
    number = 0
    for batch in batches:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for index in range(batch.num_rows):
            number += 1
            where = f"{place}:{number}"
            try:
                values = {name: _value(name, column[index], labels.get(name)) for name, column in columns.items()}
            except ValueError as error:
                yield Rejection(where, "unreadable_row", f"{where}: {error}")
            else:
                yield Record(where, {**values, **constants}, pictures, folder)


def _value(name: str, scalar: pa.Scalar, labels: Sequence[str] | None) -> Any:
    try:
        value = scalar.as_py()
    except Exception as error:  # whatever a conversion raises, the row is at fault
        raise ValueError(f"column '{name}' has a value that can't be read: {error}") from error
    if labels is None or value is None or value == _NO_LABEL:
        return value if labels is None else None
    if not 0 <= value < len(labels):
        raise ValueError(f"column '{name}' has the class {value}, but there are {len(labels)}")
    return labels[value]
