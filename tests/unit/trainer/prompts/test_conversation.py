"""Turns, the chat template, and the tags where pictures stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import DataError
from phi3k_trainer.prompts.conversation import (
    Turn,
    check_image_numbers,
    image_tag,
    render,
    split_at_images,
    with_image_tags,
)
from phi3k_trainer.templates.image_tags import literal


def test_every_turn_is_rendered_with_its_role_and_end() -> None:
    turns = [Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Ho")]
    assert render(turns) == "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHo<|end|>\n"


def test_a_generation_prompt_opens_the_assistants_turn() -> None:
    assert render([Turn("user", "Hi")], add_generation_prompt=True) == "<|user|>\nHi<|end|>\n<|assistant|>\n"


def test_pictures_come_first_unless_the_prompt_places_them() -> None:
    assert with_image_tags("What?", 2) == "<|image_1|>\n<|image_2|>\nWhat?"
    assert with_image_tags("Is <|image_2|> like <|image_1|>?", 2) == "Is <|image_2|> like <|image_1|>?"
    assert with_image_tags("What?", 0) == "What?"


@given(st.lists(st.text("ab <|image_>\n"), min_size=1, max_size=5))
def test_splitting_keeps_every_stretch_of_text_and_every_number(stretches: list[str]) -> None:
    plain = [literal(stretch) for stretch in stretches]
    text = plain[0] + "".join(image_tag(number) + one for number, one in enumerate(plain[1:], start=1))
    assert split_at_images(text) == (plain, list(range(1, len(plain))))


@given(st.text("ab<|image_12>"))
def test_literal_text_has_no_tag_and_is_left_alone_otherwise(text: str) -> None:
    assert split_at_images(literal(text)) == ([literal(text)], [])
    assert literal(literal(text)) == literal(text)


@given(st.permutations([1, 2, 3]))
def test_tags_may_stand_in_any_order(numbers: list[int]) -> None:
    check_image_numbers(numbers, 3)


@pytest.mark.parametrize(
    ("numbers", "num_images", "message"),
    [
        ([1], 0, r"<\|image_1\|> without a picture"),
        ([], 1, r"no tag <\|image_1\|> for a picture there is"),
        ([1, 3], 2, r"<\|image_3\|> without a picture; no tag <\|image_2\|>"),
        ([0, 1], 1, r"<\|image_0\|> without a picture"),
        ([1, 1], 1, r"<\|image_1\|> more than once"),
        (list(range(1, 9)), 0, "and 3 more without a picture"),
    ],
)
def test_tags_and_pictures_that_do_not_match_are_named(numbers: list[int], num_images: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_image_numbers(numbers, num_images)
