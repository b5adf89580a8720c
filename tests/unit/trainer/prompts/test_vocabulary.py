"""A tokenizer trained on the data's own text."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from phi3k_trainer.prompts.tokenizer import load_tokenizer, save_tokenizer
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from tests.unit.trainer.prompts.catalogue_text import CATALOGUE

TRAIN = "from phi3k_trainer.prompts.vocabulary import train_tokenizer as train; import hashlib; "
DIGEST = "print(hashlib.sha256(train({texts!r}, 400).backend_tokenizer.to_str().encode()).hexdigest())"


def definition(texts: list[str], size: int = 400) -> str:
    return str(train_tokenizer(texts, size).backend_tokenizer.to_str())


def test_it_has_at_most_the_tokens_asked_for() -> None:
    assert len(train_tokenizer(CATALOGUE, 330)) == 330
    assert len(train_tokenizer(CATALOGUE, 5000)) < 5000


def test_a_huge_alphabet_leaves_room_for_merges() -> None:
    alphabet = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))
    tokenizer = train_tokenizer([*CATALOGUE * 50, alphabet], 400)
    assert len(tokenizer) == 400
    assert "▁Product" in tokenizer.get_vocab()
    assert tokenizer.decode(tokenizer(alphabet)["input_ids"], skip_special_tokens=True) == alphabet


def test_the_order_of_texts_does_not_matter() -> None:
    shuffled = random.Random(0).sample(CATALOGUE, len(CATALOGUE))
    assert definition(shuffled) == definition(CATALOGUE)


def test_another_process_trains_the_same_tokenizer() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TRAIN + DIGEST.format(texts=CATALOGUE)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == hashlib.sha256(definition(CATALOGUE).encode()).hexdigest()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
def test_any_text_without_control_text_reads_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assume(not any(token in text for token in tokenizer.get_added_vocab()))
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_frequent_words_become_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("Product") == ["▁Product"]


def test_digits_stand_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("190") == ["▁", "1", "9", "0"]


def test_ids_are_laid_out_as_published(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 258]) == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]
    assert tokenizer.bos_token == "<s>"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"


def test_rendered_turns_get_the_published_kind_of_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("<|user|>\nRed Coat<|end|>\n<|assistant|>\nCoat")["input_ids"]
    spelled = tokenizer.convert_ids_to_tokens(ids)
    assert spelled[:4] == ["<s>", "<|user|>", "▁", "<0x0A>"]
    assert spelled[-5:] == ["<|end|>", "▁", "<0x0A>", "<|assistant|>", "▁Coat"]


def test_control_tokens_are_skipped_in_decoding(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("Coat<|end|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Coat"


def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    assert loaded.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    for name in (
        "bos_token",
        "eos_token",
        "pad_token",
        "unk_token",
        "chat_template",
        "padding_side",
        "model_max_length",
    ):
        assert getattr(loaded, name) == getattr(tokenizer, name), name


def test_transformers_own_loader_gives_the_same_ids(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path)
    text = "<|user|>\nRed Coat<|end|>\n<|assistant|>\nCoat<|end|>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_too_small_a_vocabulary_says_how_many_are_fixed() -> None:
    with pytest.raises(ValueError, match="no room beside 265 fixed tokens"):
        train_tokenizer(CATALOGUE, 265)


def test_no_text_at_all_leaves_bytes() -> None:
    tokenizer = train_tokenizer([], 300)
    assert tokenizer.decode(tokenizer("Red")["input_ids"], skip_special_tokens=True) == "Red"
