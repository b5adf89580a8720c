"""What is learned are the assistant's words and their ends, whatever anybody says."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from phi3k_trainer.errors import DataError
from phi3k_trainer.prompts.conversation import Turn, image_tag, render
from phi3k_trainer.prompts.encoding import IGNORED, Encoding, SpecialTokens, encode, encode_prompt, encode_text
from phi3k_trainer.templates.image_tags import literal

CONTROL = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>"]

# SentencePiece's own sign for a space reads back as one, in the published tokenizer too; half characters have a test.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="▁")
words = st.lists(
    st.one_of(st.text(characters, max_size=8), st.sampled_from([*CONTROL, "<|image_1|>", " ", "\n", "Red Coat"])),
    max_size=6,
).map("".join)
answers = words.map(lambda text: Turn("assistant", text))
questions = st.builds(Turn, st.sampled_from(["system", "user"]), words.map(literal))
conversations = st.lists(st.one_of(questions, answers), max_size=5).flatmap(
    lambda turns: answers.map(lambda answer: [*turns, answer])
)
property_test = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def learned_texts(encoding: Encoding, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The learned stretches, each decoded without the `<|end|>` it must end in."""
    end = SpecialTokens.from_tokenizer(tokenizer).end
    stretches: list[list[int]] = [[]]
    for label in encoding.labels[encoding.labels != IGNORED].tolist():
        if label == end:
            stretches.append([])
        else:
            stretches[-1].append(label)
    assert stretches.pop() == []
    return [tokenizer.decode(stretch) for stretch in stretches]


@property_test
@given(conversations)
def test_the_learned_tokens_are_exactly_the_assistants_texts(
    tokenizer: PreTrainedTokenizerFast, turns: list[Turn]
) -> None:
    encoding = encode(turns, [], tokenizer)
    assert learned_texts(encoding, tokenizer) == [turn.text for turn in turns if turn.role == "assistant"]


@property_test
@given(conversations)
def test_a_label_is_its_own_token_or_nothing(tokenizer: PreTrainedTokenizerFast, turns: list[Turn]) -> None:
    encoding = encode(turns, [], tokenizer)
    learned = encoding.labels != IGNORED
    assert encoding.input_ids.dtype == encoding.labels.dtype == np.int64
    np.testing.assert_array_equal(encoding.labels[learned], encoding.input_ids[learned])


@property_test
@given(conversations)
def test_words_never_become_control_tokens(tokenizer: PreTrainedTokenizerFast, turns: list[Turn]) -> None:
    special = SpecialTokens.from_tokenizer(tokenizer)
    ids = encode(turns, [], tokenizer).input_ids.tolist()
    control = [token for token in ids if tokenizer.convert_ids_to_tokens(token) in CONTROL]
    expected = [special.bos]
    for turn in turns:
        expected += [special.of_role(turn.role), special.end]
    assert control == expected


@property_test
@given(conversations, words)
def test_a_prompt_is_the_start_of_every_answer_to_it(
    tokenizer: PreTrainedTokenizerFast, turns: list[Turn], answer: str
) -> None:
    prompt = encode_prompt(turns, [], tokenizer).tolist()
    whole = encode([*turns, Turn("assistant", answer)], [], tokenizer).input_ids.tolist()
    assert whole[: len(prompt)] == prompt


@property_test
@given(st.lists(st.text("ab Coat,:é中", max_size=10).map(str.strip), min_size=1, max_size=5))
def test_turns_get_the_ids_of_their_rendered_text(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    turns = [Turn("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(texts)]
    rendered = encode_text(render(turns, add_generation_prompt=True), [], tokenizer)
    assert encode_prompt(turns, [], tokenizer).tolist() == rendered.tolist()


@given(numbers=st.permutations([1, 2, 3]), tokens=st.lists(st.integers(1, 50), min_size=3, max_size=3))
@property_test
def test_each_picture_stands_where_its_tag_stands(
    tokenizer: PreTrainedTokenizerFast, numbers: list[int], tokens: list[int]
) -> None:
    text = " then ".join(image_tag(number) for number in numbers)
    ids = encode_prompt([Turn("user", text)], tokens, tokenizer)
    places = ids[ids < 0]
    assert places.tolist() == [-number for number in numbers for _ in range(tokens[number - 1])]
    after = [int(ids[np.flatnonzero(ids == -number)[-1] + 1]) for number in numbers]
    assert after == [SpecialTokens.from_tokenizer(tokenizer).bos] * 3


def test_pictures_may_come_in_different_turns(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [
        Turn("user", "<|image_2|> What?"),
        Turn("assistant", "A coat."),
        Turn("user", "And <|image_1|>?"),
        Turn("assistant", "A scarf."),
    ]
    encoding = encode(turns, [3, 2], tokenizer)
    assert encoding.input_ids[encoding.input_ids < 0].tolist() == [-2, -2, -1, -1, -1]
    assert learned_texts(encoding, tokenizer) == ["A coat.", "A scarf."]


def test_an_image_tag_in_an_answer_is_words(tokenizer: PreTrainedTokenizerFast) -> None:
    encoding = encode([Turn("user", "Which?"), Turn("assistant", "<|image_1|>")], [], tokenizer)
    assert learned_texts(encoding, tokenizer) == ["<|image_1|>"]


def test_nothing_of_a_picture_is_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    encoding = encode([Turn("user", "<|image_1|>"), Turn("assistant", "A coat.")], [5], tokenizer)
    assert encoding.labels[encoding.input_ids < 0].tolist() == [IGNORED] * 5


@pytest.mark.parametrize(
    ("text", "image_tokens", "message"),
    [
        ("<|image_1|>", [], "without a picture"),
        ("What?", [5], "no tag"),
        ("<|image_2|>", [5], "without a picture; no tag"),
        ("<|image_1|><|image_1|>", [5], "more than once"),
    ],
)
def test_tags_and_pictures_must_match(
    tokenizer: PreTrainedTokenizerFast, text: str, image_tokens: list[int], message: str
) -> None:
    turns = [Turn("user", text)]
    with pytest.raises(DataError, match=message):
        encode([*turns, Turn("assistant", "A coat.")], image_tokens, tokenizer)
    with pytest.raises(DataError, match=message):
        encode_prompt(turns, image_tokens, tokenizer)
    with pytest.raises(DataError, match=message):
        encode_text(render(turns), image_tokens, tokenizer)


def test_a_conversation_without_an_answer_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="no answer"):
        encode([Turn("user", "What?")], [], tokenizer)


def test_half_a_character_is_refused_with_its_place(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        encode([Turn("user", "What?"), Turn("assistant", "Coat \ud83d")], [], tokenizer)
    with pytest.raises(DataError, match="position 5"):
        encode_text("Coat \ud83d", [], tokenizer)


def test_control_text_in_rendered_text_is_in_control(tokenizer: PreTrainedTokenizerFast) -> None:
    special = SpecialTokens.from_tokenizer(tokenizer)
    assert encode_text("<|end|>", [], tokenizer).tolist() == [special.bos, special.end]


def test_encoding_time_grows_no_faster_than_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    def seconds(text: str) -> float:
        turns = [Turn("user", text), Turn("assistant", text)]
        start = time.perf_counter()
        encode(turns, [], tokenizer)
        return time.perf_counter() - start

    for piece in ("a", "Red Coat ", "<|end|>", "\n", "中"):
        small = min(seconds(piece * 4_000) for _ in range(3))
        assert min(seconds(piece * 64_000) for _ in range(2)) < 16 * 5 * small + 0.05, piece
