"""One generated answer beside what it should have been, and its form on disk (predictions/step-N.jsonl)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """One row of the table of predictions."""

    key: str
    """The row's key in the data set."""
    images: tuple[Path, ...]
    """Pictures the model saw, in order."""
    prompt: str
    """What the user said (the last user turn that was answered)."""
    target: str
    """The answer that stands in the data."""
    answer: str
    """The answer the model gave, without its end token."""
    target_fields: Mapping[str, str]
    """The target's fields by the recipe's template, {} where the data has no template."""
    answer_fields: Mapping[str, str] | None
    """The answer's fields by the recipe's template, None when it does not parse."""


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one JSON object a line; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            row = {**prediction.__dict__, "images": [str(image) for image in prediction.images]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    temporary.replace(path)


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote, in order."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Prediction(**{**row, "images": tuple(Path(image) for image in row["images"])}) for row in rows]
