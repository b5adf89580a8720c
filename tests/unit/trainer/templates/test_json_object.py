"""Templates put columns into one JSON object, and read an answer back by its keys."""

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.templates.json_object import JsonTemplate
from phi3k_trainer.templates.text import MissingValueError

GARMENT = JsonTemplate({"title": "{title}", "price": "{full_price:.0f}", "colour?": "{colour}"})
ROW = {"title": 'The "Camden" coat\n40" long', "full_price": 2290.0, "colour": "Honey \\ beige"}

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda key: not key.endswith("?")
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
numbers = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False, width=32)


def test_the_object_is_one_line_in_the_order_of_the_recipe() -> None:
    assert GARMENT.render({**ROW, "title": "Coat"}) == '{"title": "Coat", "price": 2290, "colour": "Honey \\\\ beige"}'


def test_quotation_marks_line_ends_and_backslashes_are_escaped() -> None:
    assert json.loads(GARMENT.render(ROW)) == {"title": ROW["title"], "price": 2290, "colour": ROW["colour"]}


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_an_optional_key_is_left_out_where_its_column_has_no_value(missing: object) -> None:
    row = {**ROW, "colour": missing}
    assert json.loads(GARMENT.render(row)).keys() == {"title", "price"}
    assert GARMENT.values(row)["colour"] == ""


def test_a_key_that_is_not_optional_needs_a_value() -> None:
    with pytest.raises(MissingValueError, match="'title'"):
        GARMENT.render({**ROW, "title": None})


def test_the_columns_that_must_hold_a_value_leave_out_those_of_optional_keys() -> None:
    template = JsonTemplate({"a": "{x} {y}", "b?": "{y} {z}"})
    assert template.columns == ("x", "y", "z")
    assert template.needed_columns == ("x", "y")


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{x}", 12, 12),
        ("{x}", Decimal("3.50"), 3.5),
        ("{x:.2f}", "19.9", 19.9),
        ("{x:,}", 12345, "12,345"),
        ("{x:.0%}", 0.5, "50%"),
        ("{x}", "007", "007"),
        ("{x}", "12", "12"),
        ("{x:04d}", 7, "0007"),
        ("{x} EUR", 12, "12 EUR"),
        ("{x}", True, "True"),
        ("{x}", date(2026, 11, 26), "2026-11-26"),
    ],
)
def test_a_number_is_written_as_one_where_the_column_or_the_format_says_so(
    text: str, value: object, expected: object
) -> None:
    assert json.loads(JsonTemplate({"k": text}).render({"x": value})) == {"k": expected}


def test_image_tags_in_a_value_are_harmless() -> None:
    assert "<|image_1|>" not in GARMENT.render({**ROW, "title": "a <|image_1|> coat"})


@given(st.dictionaries(keys, texts | numbers, min_size=1, max_size=5))
def test_what_is_written_is_read_back(row: dict[str, object]) -> None:
    template = JsonTemplate({key: f"{{c{number}}}" for number, key in enumerate(row)})
    columns = {f"c{number}": value for number, value in enumerate(row.values())}
    assert template.parse(template.render(columns)) == template.values(columns)


@given(st.dictionaries(keys, texts | numbers, min_size=1, max_size=5))
def test_any_reader_of_json_finds_the_same_keys_and_values(row: dict[str, object]) -> None:
    template = JsonTemplate({key: f"{{c{number}}}" for number, key in enumerate(row)})
    found = json.loads(template.render({f"c{number}": value for number, value in enumerate(row.values())}))
    assert list(found) == list(row)
    assert {key: value for key, value in found.items() if isinstance(row[key], int)} == {
        key: value for key, value in row.items() if isinstance(value, int)
    }


def test_another_order_other_spaces_and_more_keys_are_read() -> None:
    answer = '{"colour":"Red",\n "stock": null, "price": 10.50, "title": "Scarf"}'
    assert GARMENT.parse(answer) == {"title": "Scarf", "price": "10.50", "colour": "Red"}


def test_a_key_that_the_answer_leaves_out_is_absent_and_an_optional_one_empty() -> None:
    assert GARMENT.parse('{"title": "Scarf"}') == {"title": "Scarf", "colour": ""}


def test_a_value_that_is_neither_text_nor_a_number_is_read_as_json_text() -> None:
    assert GARMENT.parse('{"title": ["a", 1], "price": null}') == {"title": '["a", "1"]', "price": "null", "colour": ""}


@pytest.mark.parametrize(
    "answer",
    ["", "Coat", '{"title": "Coat"', '"title"', "[1]", '{"price": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "{}x"],
)
def test_what_is_not_an_object_is_none(answer: str) -> None:
    assert GARMENT.parse(answer) is None


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ({}, "no keys"),
        ({"?": "{x}"}, "'\\?' is not a key"),
        ({"a": "{x}", "a?": "{x}"}, "the key 'a' twice"),
        ({"a": "{x"}, "json.a: .*lone"),
    ],
)
def test_a_mistake_is_refused_by_its_key(templates: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        JsonTemplate(templates)
