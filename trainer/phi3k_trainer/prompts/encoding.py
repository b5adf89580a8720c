"""Conversations to token ids and labels, with a place for every token of every picture.

Whole conversations get the ids the published processor gives the rendered text: it cuts at image tags and encodes
each stretch by itself, so that a `<s>` stands after every picture, and picture i fills its place with `-i`. Ours
encodes the words of each turn on their own: which tokens are the assistant's is known, never searched for, and a
control token written inside somebody's words stays words.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.errors import DataError
from phi3k_trainer.prompts.conversation import Role, Turn, check_image_numbers, split_at_images
from phi3k_trainer.prompts.tokenizer import SpecialTokens, load_tokenizer, save_tokenizer

__all__ = [
    "IGNORED",
    "Encoding",
    "SpecialTokens",
    "encode",
    "encode_prompt",
    "encode_text",
    "load_tokenizer",
    "save_tokenizer",
]

IGNORED = -100
"""The label of a token from which nothing is learned (PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class Encoding:
    """One conversation as tokens."""

    input_ids: NDArray[np.int64]
    """`[T]`; `-i` in the places of picture i, counted from 1."""
    labels: NDArray[np.int64]
    """`[T]`; the token itself where it is learned, else -100. Not shifted."""


def encode(turns: Sequence[Turn], image_tokens: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> Encoding:
    """Encode a conversation for training: the assistant's words and the `<|end|>` of its turns are labelled.

    White space at the start of an answer is kept and learned, though the published `<|assistant|>` would swallow it.

    Args:
        turns: System, user and assistant turns, at least one of them the assistant's.
        image_tokens: Tokens of picture 1, 2, ... (the configuration's `image_tokens`).
        tokenizer: As from `load_tokenizer`.

    Raises:
        DataError: when image tags and pictures don't match, no turn is the assistant's, or text isn't Unicode.
    """
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError("the conversation has no answer: nothing could be learned from it")
    layout = _Layout(_speech_of(tokenizer))
    layout.add_turns(turns)
    return layout.encoding(image_tokens)


def encode_prompt(
    turns: Sequence[Turn], image_tokens: Sequence[int], tokenizer: PreTrainedTokenizerFast
) -> NDArray[np.int64]:
    """Encode a conversation for generation: ids `[T]` that end where the assistant starts to speak.

    They are the start of `encode([*turns, answer], ...)` for any answer.

    Raises:
        DataError: as `encode`, but for the missing answer.
    """
    layout = _Layout(_speech_of(tokenizer))
    layout.add_turns(turns)
    layout.add_assistant_header()
    return layout.encoding(image_tokens).input_ids


def encode_text(text: str, image_tokens: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> NDArray[np.int64]:
    """Encode already rendered text as the published processor does: ids `[T]`. Control text in it is in control.

    Raises:
        DataError: when image tags and pictures don't match, or text isn't Unicode.
    """
    stretches, numbers = split_at_images(text)
    check_image_numbers(numbers, len(image_tokens))
    _check_unicode(stretches)
    ids: list[int] = []
    for number, stretch in zip([0, *numbers], tokenizer(stretches)["input_ids"], strict=True):
        if number:
            ids += [-number] * image_tokens[number - 1]
        ids += stretch
    return np.array(ids, dtype=np.int64)


@dataclass(frozen=True)
class _Speech:
    """What encoding needs of a tokenizer, made once for each."""

    plain: Tokenizer
    """Knows no added token: all text is words."""
    special: SpecialTokens
    keeps_newline: frozenset[int]
    """Special tokens that don't swallow the white space after them."""


@functools.lru_cache(maxsize=8)
def _speech_of(tokenizer: PreTrainedTokenizerFast) -> _Speech:
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return _Speech(
        plain=Tokenizer.from_str(json.dumps(definition)),
        special=SpecialTokens.from_tokenizer(tokenizer),
        keeps_newline=frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if not token.rstrip),
    )


class _Layout:
    """The stretches of a conversation in order: tokens known by id, words still to be encoded, pictures."""

    def __init__(self, speech: _Speech) -> None:
        self._speech = speech
        self._parts: list[tuple[int | str, bool]] = [(speech.special.bos, False)]
        """A token id, a picture as its negative number, or words; and whether they are learned."""

    def add_turns(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            if turn.role == "assistant":
                self.add_assistant_header()
                self._add_words(turn.text, learned=True)
                self._parts.append((self._speech.special.end, True))
            else:
                self._add_prompting_turn(turn)

    def add_assistant_header(self) -> None:
        self._add_words(self._open("assistant"))

    def _add_prompting_turn(self, turn: Turn) -> None:
        stretches, numbers = split_at_images(turn.text)
        self._add_words(self._open(turn.role) + stretches[0])
        for number, stretch in zip(numbers, stretches[1:], strict=True):
            self._parts += [(-number, False), (self._speech.special.bos, False)]
            self._add_words(stretch)
        self._parts.append((self._speech.special.end, False))

    def _open(self, role: Role) -> str:
        """Start a turn; returns the white space that is encoded together with its first words."""
        special = self._speech.special
        if len(self._parts) > 1:
            self._add_words(self._newline_after(special.end))
        self._parts.append((special.of_role(role), False))
        return self._newline_after(special.of_role(role))

    def _newline_after(self, token: int) -> str:
        return "\n" if token in self._speech.keeps_newline else ""

    def _add_words(self, words: str, learned: bool = False) -> None:
        if words:
            self._parts.append((words, learned))

    def encoding(self, image_tokens: Sequence[int]) -> Encoding:
        check_image_numbers([-part for part, _ in self._parts if isinstance(part, int) and part < 0], len(image_tokens))
        words = [part for part, _ in self._parts if isinstance(part, str)]
        _check_unicode(words)
        encoded = iter(self._speech.plain.encode_batch_fast(words, add_special_tokens=False))
        ids: list[int] = []
        labels: list[int] = []
        for part, learned in self._parts:
            if isinstance(part, str):
                new = next(encoded).ids
            elif part < 0:
                new = [part] * image_tokens[-part - 1]
            else:
                new = [part]
            ids += new
            labels += new if learned else [IGNORED] * len(new)
        return Encoding(np.array(ids, dtype=np.int64), np.array(labels, dtype=np.int64))


def _check_unicode(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text has half a character (a lone surrogate) at position {error.start}: repair its encoding"
            ) from error
