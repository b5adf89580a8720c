"""Tokenizers in the published layout: reading, writing, and the special tokens by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from transformers import PreTrainedTokenizerFast

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.files import read_json, write_json
from phi3k_trainer.prompts.conversation import Role

CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
    "{{- '<|assistant|>\n' -}}{% endif %}"
)
"""The published chat template in Jinja; `phi3k_trainer.prompts.conversation.render` says the same in Python."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that steer the model, found by name."""

    bos: int
    endoftext: int
    system: int
    user: int
    assistant: int
    end: int
    image: int

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerFast) -> Self:
        """Look every token up.

        Raises:
            DataError: naming the tokens that the tokenizer doesn't have: it belongs to another model.
        """
        names = {"bos": "<s>"} | {
            field: f"<|{field}|>" for field in ("endoftext", "system", "user", "assistant", "end", "image")
        }
        ids = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
        if absent := [name for name in names.values() if name not in ids]:
            raise DataError(
                f"the tokenizer has no {', '.join(absent)}: it belongs to another model; "
                "take the tokenizer files that came with the Phi-3-Vision weights"
            )
        return cls(**{field: ids[name] for field, name in names.items()})

    @property
    def pad(self) -> int:
        """Fills up short rows, as published."""
        return self.endoftext

    @property
    def stop(self) -> tuple[int, int]:
        """Generation ends at either of these."""
        return (self.end, self.endoftext)

    def of_role(self, role: Role) -> int:
        """The token that opens a turn of `role`."""
        return {"system": self.system, "user": self.user, "assistant": self.assistant}[role]


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model directory, with the ids the checkpoint was trained on.

    `AutoTokenizer` of transformers 5 rebuilds a Llama tokenizer with other ids; `tokenizer.json` is taken as it is.

    Raises:
        MissingInputError: when a file is not there or not a tokenizer's.
        DataError: when it is the tokenizer of another model.
    """
    directory = Path(directory)
    config = read_json(directory / "tokenizer_config.json")
    named = {
        name: value["content"] if isinstance(value := config.get(name), dict) else value
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
    }
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise MissingInputError(f"{path} is not there: a model directory needs its tokenizer.json")
    try:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(path),
            chat_template=config.get("chat_template", CHAT_TEMPLATE),
            padding_side=config.get("padding_side", "right"),
            model_max_length=config.get("model_max_length"),
            **{name: value for name, value in named.items() if value is not None},
        )
    except Exception as error:  # the Rust side raises bare Exception for a malformed file
        raise MissingInputError(f"{path} is not a tokenizer: {error}") from error
    SpecialTokens.from_tokenizer(tokenizer)
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: str | Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json as the published model has them."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    named = {
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "unk_token": tokenizer.unk_token,
    }
    # As published: those of the added tokens that keep the space behind them.
    additional = [
        token.content
        for _, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and not token.rstrip and token.content not in named.values()
    ]
    config = {
        "added_tokens_decoder": {
            str(number): {
                "content": token.content,
                "lstrip": token.lstrip,
                "normalized": token.normalized,
                "rstrip": token.rstrip,
                "single_word": token.single_word,
                "special": token.special,
            }
            for number, token in sorted(tokenizer.added_tokens_decoder.items())
        },
        "additional_special_tokens": additional,
        **named,
        "chat_template": tokenizer.chat_template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(directory / "tokenizer_config.json", config)
    write_json(directory / "special_tokens_map.json", {"additional_special_tokens": additional, **named})
