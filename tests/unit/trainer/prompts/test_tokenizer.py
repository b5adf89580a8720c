"""Tokenizer files of a model directory, good and bad."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.prompts.tokenizer import SpecialTokens, load_tokenizer, save_tokenizer


def test_special_tokens_are_found_by_name(tokenizer: PreTrainedTokenizerFast) -> None:
    special = SpecialTokens.from_tokenizer(tokenizer)
    named = tokenizer.convert_ids_to_tokens([special.bos, special.user, special.of_role("assistant"), *special.stop])
    assert named == ["<s>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"]
    assert special.pad == special.endoftext


def test_the_tokenizer_of_another_model_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    other = Tokenizer(models.BPE({"<s>": 0, "a": 1}, []))
    other.add_special_tokens(["<s>", "<|user|>"])
    other.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(DataError, match=r"no <\|endoftext\|>, <\|system\|>, <\|assistant\|>, .*another model"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str) -> None:
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingInputError, match=name):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str, content: str) -> None:
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(MissingInputError, match=name):
        load_tokenizer(tmp_path)


def test_an_empty_configuration_leaves_the_defaults(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    loaded = load_tokenizer(tmp_path)
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded("Coat")["input_ids"] == tokenizer("Coat")["input_ids"]


def test_token_names_may_be_written_as_objects(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["pad_token"] = {"content": "<|endoftext|>", "lstrip": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).pad_token == "<|endoftext|>"
