"""Source `messages`: conversations in the chat format of the OpenAI API, one a row, with pictures among the text.

`{"messages": [{"role": "system" | "user" | "assistant", "content": "..." | [part, ...]}, ...]}` as JSON lines or as one
JSON array. A part is `{"type": "text", "text": "..."}`, `{"type": "image_url", "image_url": {"url": "..."}}` or
`{"type": "image", "image": "..."}`, where a picture is a path, an address or a `data:` URI.
"""

from collections.abc import Mapping
from typing import Any

from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Folder, Record
from phi3k_trainer.data.sources.llava import alternating, read_conversations
from phi3k_trainer.data.sources.reader import Reader, Rows
from phi3k_trainer.prompts.conversation import Role, Turn, image_tag
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.templates.image_tags import literal

_MESSAGES = "messages"
_PICTURES = "messages[].content"  # the column that a record's pictures are given in; its name in messages
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_SHOWN_CHARACTERS = 100


def read(section: DataSection, needed: tuple[str, ...]) -> Rows:
    """Rows with their own conversations; the parts of a message are lines of its text, a picture the line of its tag.

    Raises:
        DataError: a file is not an array of objects, or no row has `messages`.
        MissingInputError: there is no such file.
    """
    return read_conversations(section, needed, _MESSAGES, _record)


def _record(where: str, row: dict[str, Any], folder: Folder) -> Record | Rejection:
    pictures: list[str] = []
    try:
        turns = alternating(_turn(message, pictures) for message in _listed(row.get(_MESSAGES), "messages"))
    except ValueError as error:
        return Rejection(where, "bad_conversation", f"{where}: {error}")
    columns = {**row, _PICTURES: pictures}
    return Record(where, columns, (_PICTURES,) if pictures else (), folder, turns)


def _turn(message: object, pictures: list[str]) -> Turn:
    """What one side says; its pictures are added to `pictures`, and numbered as they stand there."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str) or message["role"] not in _ROLES:
        raise ValueError(f"not a message with role ({', '.join(_ROLES)}) and content: {_shown(message)}")
    role = _ROLES[message["role"]]
    for name, value in message.items():
        # What would change what is learned, such as tool_calls or weight 0, is not left out silently.
        if name not in ("role", "content") and value is not None and (name, value) != ("weight", 1):
            raise ValueError(f"the {role}'s message has '{name}', which is not read: {_shown(value)}")
    content = message.get("content")
    if isinstance(content, str):
        return Turn(role, literal(content))
    return Turn(
        role, "\n".join(_line(role, part, pictures) for part in _listed(content, f"parts in the {role}'s message"))
    )


def _line(role: Role, part: object, pictures: list[str]) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return literal(text)
        case {"type": "image_url", "image_url": str(picture) | {"url": str(picture)}} | {
            "type": "image",
            "image": str(picture),
        }:
            if role != "user":
                raise ValueError(f"a picture in the {role}'s message: only the user shows pictures")
            pictures.append(picture)
            return image_tag(len(pictures))
    raise ValueError(f"not a part with text, image_url or image in the {role}'s message: {_shown(part)}")


def _listed(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"no list of {what}")
    return value


def _shown(value: object) -> str:
    return str(value)[:_SHOWN_CHARACTERS]


READER = Reader(read)
