"""Templates put columns into text, and read them back out of it."""

import math
import string
import subprocess
import sys
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phi3k_trainer.errors import DataError, RecipeError
from phi3k_trainer.templates.text import MissingValueError, Template

GUIDE = Template("Product: {title}, Category: {category3_code}, Full Price: {full_price}")
ROW = {"title": "Quilted Jacket", "category3_code": "QUILTED JACKETS", "full_price": 2290.0, "brand": "Burberry"}

names = st.text(string.ascii_letters + "_0123456789 .-é", min_size=1, max_size=8).filter(str.strip)
# Text between columns and values never share a character, so that there is one way to read an answer.
between = st.text("|=;{}", min_size=1, max_size=4)
values = st.text(string.ascii_letters + " ,:\n\u00e9\u4e2d", min_size=1, max_size=20).filter(str.strip)


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def test_columns_stand_where_their_names_stood() -> None:
    assert GUIDE.render(ROW) == "Product: Quilted Jacket, Category: QUILTED JACKETS, Full Price: 2290.0"


def test_fields_are_the_columns_in_order_of_first_use() -> None:
    assert Template("{b} {a} {b}").fields == ("b", "a")


def test_an_answer_in_the_templates_form_is_read_back() -> None:
    assert GUIDE.parse("Product: Trench Coat, Category: COATS, Full Price: 1890.0") == {
        "title": "Trench Coat",
        "category3_code": "COATS",
        "full_price": "1890.0",
    }


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Product: Trench Coat",
        "Product: Trench Coat, Category: COATS, Full Price: ",
        "Product: , Category: COATS, Full Price: 1",
        "A Product: Trench Coat, Category: COATS, Full Price: 1",
        "Product: Trench Coat, Full Price: 1, Category: COATS",
    ],
)
def test_an_answer_in_another_form_is_none(answer: str) -> None:
    assert GUIDE.parse(answer) is None


@given(st.lists(st.tuples(names, values, between), min_size=1, max_size=5, unique_by=lambda part: part[0]), between)
def test_parse_is_the_inverse_of_render(parts: list[tuple[str, str, str]], first: str) -> None:
    template = Template(escaped(first) + "".join(f"{{{name}}}{escaped(text)}" for name, _, text in parts))
    columns = {name: value for name, value, _ in parts}
    assert template.parse(template.render(columns)) == template.values(columns) == columns


@given(st.text(max_size=60))
def test_any_answer_is_read_or_none(answer: str) -> None:
    parsed = GUIDE.parse(answer)
    assert parsed is None or list(parsed) == list(GUIDE.fields)


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_read_renders_to_the_answer_it_was_read_from(title: str, price: str) -> None:
    parsed = GUIDE.parse(f"Product: {title}, Category: X, Full Price: {price}")
    assume(parsed is not None and all(value.strip() for value in parsed.values()))
    assert parsed is not None
    assume("<|image_" not in "".join(parsed.values()))
    assert GUIDE.render(parsed) == f"Product: {title}, Category: X, Full Price: {price}"


@given(st.text())
def test_any_text_escaped_is_a_template_that_says_it(text: str) -> None:
    assert Template(escaped(text)).render({}) == text
    assert Template(escaped(text)).parse(text) == {}


@given(st.text("{}:a.[]!0<>f ", max_size=12))
def test_hostile_braces_are_a_template_or_a_recipe_error(text: str) -> None:
    try:
        template = Template(text)
    except RecipeError:
        return
    assert all("{" + name in text for name in template.fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Price {", "lone '{' at character 7"),
        ("Price }", "lone '}' at character 7"),
        ("{a{b}}", "lone '{' at character 1"),
        ("{}", "column name is missing"),
        ("{ }", "column name is missing"),
        ("{price:zz}", "'zz' is not a format for column 'price'"),
        ("{price:99999999999d}", "is not a format"),
        ("{price:{width}}", "lone"),
    ],
)
def test_a_malformed_template_is_a_recipe_error(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Template(text)


@pytest.mark.parametrize("text", ["{title.__class__}", "{title[0]}", "{title!r}"])
def test_a_name_is_only_looked_up_never_evaluated(text: str) -> None:
    with pytest.raises(DataError, match="no column named"):
        Template(text).render({"title": "Coat"})


def test_an_unknown_column_names_the_columns_there_are() -> None:
    with pytest.raises(
        DataError, match=r"no column named 'titel' .*there are: brand, category3_code, full_price, title"
    ):
        Template("{titel}").render(ROW)


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{x:.2f}", 2290, "2290.00"),
        ("{x:.2f}", "2290", "2290.00"),
        ("{x:.2f}", Decimal("1.005"), "1.00"),
        ("{x:,.0f}", 1234567.0, "1,234,567"),
        ("{x:d}", 2290.0, "2290"),
        ("{x:d}", "2290", "2290"),
        ("{x:d}", 12345678901234567, "12345678901234567"),
        ("{x:05d}", np.int64(42), "00042"),
        ("{x:.1f}", np.float32(0.25), "0.2"),
        ("{x:>6}", "ab", "    ab"),
        ("{x:.3}", "abcdef", "abc"),
        ("{x:.1%}", 0.125, "12.5%"),
        ("{x}", True, "True"),
        ("{x}", date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_formats_follow_the_format_mini_language(template: str, value: object, text: str) -> None:
    assert Template(template).render({"x": value}) == text


@pytest.mark.parametrize(
    ("template", "value"), [("{x:.2f}", "N.A."), ("{x:d}", 2.5), ("{x:d}", "inf"), ("{x:.2f}", "nan")]
)
def test_a_value_its_format_does_not_take_names_the_column(template: str, value: object) -> None:
    with pytest.raises(DataError, match="column 'x' has"):
        Template(template).render({"x": value})


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan"), Decimal("NaN"), "", "  \n"])
def test_a_missing_value_is_an_error_of_the_row_that_names_the_column(value: object) -> None:
    with pytest.raises(MissingValueError, match="no value in column 'title'") as caught:
        GUIDE.render({**ROW, "title": value})
    assert caught.value.column == "title"


@pytest.mark.parametrize("value", [b"bytes", ["a"], {"a": 1}, object()])
def test_a_value_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="column 'title' holds a"):
        GUIDE.render({**ROW, "title": value})


def test_braces_in_values_stay_words() -> None:
    assert Template("{a} {b}").render({"a": "{b}", "b": "{{"}) == "{b} {{"


def test_an_image_tag_in_a_value_is_made_harmless_and_read_back_so() -> None:
    columns = {**ROW, "title": "<|image_1|> <|image_22|><|end|>"}
    assert GUIDE.values(columns)["title"] == "<image_1> <image_22><|end|>"
    assert GUIDE.parse(GUIDE.render(columns)) == GUIDE.values(columns)


def test_a_column_that_stands_twice_must_say_the_same_twice() -> None:
    template = Template("{a}-{a}")
    assert template.parse("x-x") == {"a": "x"}
    assert template.parse("x-y") is None


def test_a_column_in_two_formats_is_read_in_its_first() -> None:
    template = Template("{a:.2f} or {a:.0f}")
    assert template.parse(template.render({"a": 2.25})) == {"a": "2.25"} == template.values({"a": 2.25})


def test_columns_side_by_side_render_but_cannot_be_read() -> None:
    template = Template("{a}{b}")
    assert template.render({"a": 1, "b": 2}) == "12"
    with pytest.raises(RecipeError, match="side by side"):
        template.parse("12")


def test_a_long_hostile_answer_is_read_in_linear_time() -> None:
    template = Template(", ".join(f"{{c{number}}}" for number in range(12)) + "!")
    assert template.parse(", " * 200_000) is None


def test_templates_import_nothing_heavy() -> None:
    program = "import sys, phi3k_trainer.templates.text; print({'torch', 'numpy', 'transformers'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
