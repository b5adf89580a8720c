"""Source `llava`: the JSON of LLaVA and its descendants, a conversation a row.

`[{"id": ..., "image": "a.jpg" | ["a.jpg", ...], "conversations": [{"from": "human", "value": "<image>\\n..."}, ...]}]`,
as one JSON array or as JSON lines. Rows without `image` (or `images`) are text only.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Folder, Record
from phi3k_trainer.data.sources.files import left_out, require_columns, table_files
from phi3k_trainer.data.sources.jsonl import json_rows
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.prompts.conversation import Role, Turn, image_tag
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.sources import source_named
from phi3k_trainer.templates.image_tags import literal

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
    return read_conversations(section, needed, "conversations", _record)


def read_conversations(
    section: DataSection,
    needed: tuple[str, ...],
    column: str,
    record: Callable[[str, dict[str, Any], Folder], Record | Rejection],
) -> Rows:
    """Rows of JSON that bring their own turns, which begin with the recipe's `system` where they have none.

    Args:
        section: The recipe's section `data`.
        needed: Columns that the recipe uses.
        column: Holds the conversation.
        record: Makes a record with turns of a row, by its place, content and folder.

    Raises:
        DataError: a file is not an array of objects, or no row has `column`.
        MissingInputError: there is no such file.
    """
    files = table_files(section, source_named(section.source).tables or ())
    seen: dict[str, None] = {}
    for file in files:
        for where, row in json_rows(file):
            if isinstance(row, Rejection):
                yield row
                continue
            seen.update(dict.fromkeys(row))
            made = record(where, row, file.folder)
            yield _with_system(made, section.system) if isinstance(made, Record) else made
    if seen:
        require_columns((column, *needed), seen, str(section.path))
    yield from left_out(section, files)


def _with_system(record: Record, system: str | None) -> Record:
    if system is None or not record.turns or record.turns[0].role == "system":
        return record
    return replace(record, turns=(Turn("system", system), *record.turns))


def alternating(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The turns of a conversation.

    Raises:
        ValueError: user and assistant don't take turns, the assistant last, after at most one system message.
    """
    whole = tuple(turns)
    if any(turn.role == "system" for turn in whole[1:]):
        raise ValueError("a system message after the beginning")
    spoken = [turn.role for turn in whole if turn.role != "system"]
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise ValueError(f"user and assistant don't take turns, the assistant last: {', '.join(spoken)}")
    return whole


def _record(where: str, row: dict[str, Any], folder: Folder) -> Record | Rejection:
    pictures = tuple(name for name in ("image", "images") if row.get(name))[:1]
    try:
        return Record(where, row, pictures, folder, _turns(row.get("conversations")))
    except ValueError as error:
        return Rejection(where, "bad_conversation", f"{where}: {error}")


def _turns(conversations: object) -> tuple[Turn, ...]:
    if not isinstance(conversations, list) or not conversations:
        raise ValueError("no list of conversations")
    numbers = count(1)
    return alternating(_turn(turn, numbers) for turn in conversations)


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
