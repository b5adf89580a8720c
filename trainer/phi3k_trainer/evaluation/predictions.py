"""One generated answer beside what it should have been, and its form on disk (predictions/step-N.jsonl)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from phi3k_trainer.data.store import write_atomically


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
    rows = (
        {**prediction.__dict__, "images": [str(image) for image in prediction.images]} for prediction in predictions
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, text.encode("utf-8"))


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote, in order."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Prediction(**{**row, "images": tuple(Path(image) for image in row["images"])}) for row in rows]
