"""One generated answer beside what it should have been, and its form on disk (predictions/step-N.jsonl)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, with_config

from phi3k_trainer.files import (
    convert,
    damage_named,
    encode_json,
    path_from_text,
    path_to_text,
    read_json_lines,
    write_atomically,
)
from phi3k_trainer.run_directory import PREDICTIONS, REMEDIES


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Prediction:
    """One row of the table of predictions."""

    key: str
    """The row's key in the data set."""
    images: tuple[Path, ...]
    """Pictures the model saw, in order."""
    prompt: str
    """What the user said before the answer."""
    target: str
    """The answer that stands in the data."""
    answer: str
    """The answer the model gave, without its end token."""
    target_fields: Mapping[str, str]
    """The target's fields by the recipe's template, or the whole of it as `answer` where there is no template."""
    answer_fields: Mapping[str, str] | None
    """The answer's fields in the same way, None when it does not have the template's form."""


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one JSON object a line; the file appears whole or not at all.

    Raises:
        StorageError: it can't be written.
    """
    rows = ({**vars(prediction), "images": list(map(path_to_text, prediction.images))} for prediction in predictions)
    write_atomically(path, b"".join(map(encode_json, rows)), "checkpoint.directory")


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote, in order.

    Raises:
        MissingInputError: the file is not there, or holds something else.
    """
    remedy = REMEDIES[PREDICTIONS]
    with damage_named(path, remedy):
        return [_prediction(row) for row in read_json_lines(path, remedy)]


def _prediction(row: Mapping[str, Any]) -> Prediction:
    images = convert(tuple[str, ...], row.get("images"))
    return convert(Prediction, {**row, "images": list(map(path_from_text, images))})
