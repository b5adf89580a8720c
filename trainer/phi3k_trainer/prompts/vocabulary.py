"""A tokenizer of a model's own, trained on its data's text: small, but of the published one's kind."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.prompts.tokenizer import CHAT_TEMPLATE

_UNKNOWN, _BOS, _EOS = "<unk>", "<s>", "</s>"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# The published names that matter; `<|assistant|>` and `<|image|>` swallow the white space after them, as published.
_SPECIAL = {
    "<|endoftext|>": False,
    "<|assistant|>": True,
    "<|system|>": False,
    "<|end|>": False,
    "<|user|>": False,
    "<|image|>": True,
}
_SPACE = "▁"  # what SentencePiece writes for a space
# A word with the space before it; a digit by itself, as in the published vocabulary; runs of anything else.
_PIECE = Regex(rf"{_SPACE}?[^{_SPACE}\d\W]+|{_SPACE}?[^{_SPACE}\w\s]+|\d|\s|{_SPACE}")
_MODEL_MAX_LENGTH = 131072


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-pair vocabulary with byte fallback on `texts`.

    Any text encodes; the same texts in any order give the same tokenizer. Ids are laid out as published: `<unk>`,
    `<s>`, `</s>`, 256 bytes, learned pieces, then the control tokens.

    Args:
        texts: The words of the data, without control text.
        vocabulary_size: At most this many tokens, special ones included; fewer when the texts hold fewer pieces.

    Raises:
        ValueError: when there is no room for the fixed tokens.
    """
    room = vocabulary_size - len(_BYTES) - 3 - len(_SPECIAL)
    if room < 1:
        raise ValueError(f"a vocabulary of {vocabulary_size} has no room beside {vocabulary_size - room} fixed tokens")
    learned, merges = _learn(Counter(texts), room)
    names = [_UNKNOWN, _BOS, _EOS, *_BYTES, *learned]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: number for number, name in enumerate(names)},
            merges=merges,
            unk_token=_UNKNOWN,
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (_UNKNOWN, _BOS, _EOS)])
    tokenizer.add_special_tokens(
        [AddedToken(name, rstrip=rstrip, normalized=False, special=True) for name, rstrip in _SPECIAL.items()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", pair=f"{_BOS} $A {_BOS}:1 $B:1", special_tokens=[(_BOS, names.index(_BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_BOS,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token=_UNKNOWN,
        padding_side="right",
        model_max_length=_MODEL_MAX_LENGTH,
        chat_template=CHAT_TEMPLATE,
    )


def _learn(texts: Counter[str], room: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces (at most `room`) and merges, the most frequent characters first in line."""
    characters: Counter[str] = Counter()
    for text, times in texts.items():
        for character in text:
            characters[_SPACE if character == " " else character] += times
    del characters["\n"]  # always bytes, as published
    # Half the room is kept for merges; a rarer character is written in bytes.
    kept = sorted(characters, key=lambda character: (-characters[character], character))[: max(1, room // 2)]
    trainer = trainers.BpeTrainer(vocab_size=room, min_frequency=2, initial_alphabet=[_SPACE], show_progress=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.train_from_iterator(_known(texts, frozenset(kept) | {" "}), trainer)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in model["merges"]]


def _known(texts: Counter[str], alphabet: frozenset[str]) -> Iterator[str]:
    """The texts, cut where a character is not in `alphabet`, sorted so that their order can't matter."""
    for text in sorted(texts):
        cut = "".join(character if character in alphabet else "\n" for character in text)
        for part in filter(None, cut.split("\n")):
            yield from [part] * texts[text]


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(_PIECE, behavior="isolated")
