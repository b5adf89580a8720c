"""Real little data sets for the tests of data preparation."""

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from phi3k_trainer.recipe.recipe import Recipe
from phi3k_trainer.sources import source_named

ANSWER = "Product: {title}, Price: {price}"


def png(shade: int, width: int = 40, height: int = 30) -> bytes:
    """A grey picture."""
    file = io.BytesIO()
    Image.new("L", (width, height), shade).save(file, "PNG")
    return file.getvalue()


def write_picture(path: Path, shade: int, **size: int) -> Path:
    """A grey picture in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade, **size))
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON line a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_products(directory: Path, number: int, first: int = 0) -> Path:
    """products.jsonl with a picture a row, each of another shade."""
    rows = []
    for index in range(first, first + number):
        write_picture(directory / f"images/{index}.png", index % 256, width=40 + index // 256)
        rows.append({"title": f"Coat {index}", "price": 100.5 + index, "image": f"images/{index}.png"})
    return write_jsonl(directory / "products.jsonl", rows)


def recipe(cache: Path, **data: Any) -> Recipe:
    """A recipe with the given section `data`."""
    section = {"cache": str(cache), "eval_fraction": 0.0, **data}
    if not source_named(section["source"]).own_turns:
        section.setdefault("answer", ANSWER)
    return Recipe.model_validate({"apiVersion": "phi3k/v1", "name": "test", "model": {"base": "tiny"}, "data": section})
