"""Source `llava`: the JSON of LLaVA and its descendants, a conversation a row.

`[{"id": ..., "image": "a.jpg" | ["a.jpg", ...], "conversations": [{"from": "human", "value": "<image>\\n..."}, ...]}]`,
as one JSON array or as JSON lines. Rows without `image` (or `images`) are text only.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Folder, Record
from phi3k_trainer.data.sources.files import left_out, require_columns, table_files
from phi3k_trainer.data.sources.jsonl import json_rows
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.prompts.conversation import Role, Turn, image_tag, literal
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import JSONL_SUFFIXES

_ROLES: Mapping[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_IMAGE_TAG = "<image>"


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows with their own conversations; each `<image>` becomes the tag of the next picture, where it stands.

    Raises:
        DataError: a file is not an array of objects, or no row has `conversations`.
        MissingInputError: there is no such file.
    """
    files = table_files(section, (".json", *JSONL_SUFFIXES))
    seen: dict[str, None] = {}
    for file in files:
        for where, row in json_rows(file):
            if isinstance(row, Rejection):
                yield row
                continue
            seen.update(dict.fromkeys(row))
            yield _record(where, row, file.folder, section.system)
    if seen:
        require_columns(("conversations", *needed), seen, str(section.path))
    yield from left_out(section, files)


def _record(where: str, row: dict[str, Any], folder: Folder, system: str | None) -> Record | Rejection:
    pictures = tuple(name for name in ("image", "images") if row.get(name))[:1]
    try:
        turns = _turns(row.get("conversations"))
    except ValueError as error:
        return Rejection(where, "bad_conversation", f"{where}: {error}")
    if system is not None and turns[0].role != "system":
        turns = (Turn("system", system), *turns)
    return Record(where, row, pictures, folder, turns)


def _turns(conversations: object) -> tuple[Turn, ...]:
    if not isinstance(conversations, list) or not conversations:
        raise ValueError("no list of conversations")
    numbers = count(1)
    turns = tuple(_turn(turn, numbers) for turn in conversations)
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("a system message after the beginning")
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise ValueError(f"user and assistant don't take turns, the assistant last: {', '.join(spoken)}")
    return turns


def _turn(turn: object, numbers: Iterator[int]) -> Turn:
    speaker, value = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
    if not isinstance(speaker, str) or speaker not in _ROLES or not isinstance(value, str):
        raise ValueError(f"not a turn with from ({', '.join(_ROLES)}) and value: {str(turn)[:100]}")
    role = _ROLES[speaker]
    text = literal(value)
    if role == "assistant":
        return Turn(role, text)
    return Turn(role, re.sub(_IMAGE_TAG, lambda _: image_tag(next(numbers)), text))


READER = Reader(read)
