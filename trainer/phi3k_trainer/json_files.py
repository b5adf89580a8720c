"""The JSON files of a model directory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3k_trainer.errors import MissingInputError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        MissingInputError: when the file is not there or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise MissingInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MissingInputError(f"{path} is not a JSON object")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as the published files are: indented, UTF-8."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
