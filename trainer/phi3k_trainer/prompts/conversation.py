"""Conversations: turns, the chat template, and the tags that say where pictures stand.

Two kinds of text meet here. Control text (`<|user|>`, `<|end|>`, `<|image_1|>` ...) steers the model; the words of
turns are data. Only image tags may stand inside the words of system and user turns; text from somebody else's data
(a title, say) goes through `literal` first. Every other control text inside a turn is encoded letter by letter by
`phi3k_trainer.prompts.encoding` and steers nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from phi3k_trainer.errors import DataError
from phi3k_trainer.templates.image_tags import IMAGE_TAG

Role = Literal["system", "user", "assistant"]

_IMAGE_NUMBER = re.compile(r"<\|image_(\d+)\|>")


@dataclass(frozen=True)
class Turn:
    """What one side says, without the control text around it."""

    role: Role
    text: str


def render(turns: Iterable[Turn], add_generation_prompt: bool = False) -> str:
    """The conversation in the published chat template: `<|role|>\\n{text}<|end|>\\n` for each turn.

    `add_generation_prompt` adds `<|assistant|>\\n`, for the model to go on from. The result is for reading and for
    the processor's string form; training encodes the turns themselves, so that words can't pass for control text.
    """
    said = "".join(f"<|{turn.role}|>\n{turn.text}<|end|>\n" for turn in turns)
    return said + "<|assistant|>\n" if add_generation_prompt else said


def image_tag(number: int) -> str:
    """The tag at which picture `number` (from 1) stands."""
    return f"<|image_{number}|>"


def with_image_tags(prompt: str, num_images: int) -> str:
    """`prompt` with a line `<|image_i|>` for each picture in front, unless it places pictures itself."""
    if IMAGE_TAG.search(prompt):
        return prompt
    return "".join(image_tag(number) + "\n" for number in range(1, num_images + 1)) + prompt


def split_at_images(text: str) -> tuple[list[str], list[int]]:
    """Cut `text` at its image tags.

    Returns:
        The n + 1 stretches of text around n tags (possibly empty), and the n picture numbers in order of appearance.
    """
    parts = _IMAGE_NUMBER.split(text)
    return parts[::2], [int(number) for number in parts[1::2]]


def check_image_numbers(numbers: Sequence[int], num_images: int) -> None:
    """Hold the tags of one conversation against its pictures: each of 1 to `num_images` once, in any order.

    Raises:
        DataError: naming the tags without a picture, the pictures without a tag, or the tags that stand twice.
    """
    count = Counter(numbers)
    expected = set(range(1, num_images + 1))
    complaints = []
    if surplus := sorted(count.keys() - expected):
        complaints.append(f"{_tags(surplus)} without a picture")
    if untagged := sorted(expected - count.keys()):
        complaints.append(f"no tag {_tags(untagged)} for a picture there is")
    if repeated := sorted(number for number, times in count.items() if times > 1):
        complaints.append(f"{_tags(repeated)} more than once")
    if complaints:
        raise DataError(
            f"{'; '.join(complaints)}: {num_images} picture(s) came with the text, "
            "and each stands at exactly one tag, numbered from <|image_1|>"
        )


def _tags(numbers: Sequence[int]) -> str:
    shown = ", ".join(image_tag(number) for number in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
