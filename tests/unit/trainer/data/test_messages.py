"""The source `messages`: the chat format of the OpenAI API."""

import base64
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phi3k_trainer.data.dataset import Dataset, Example, prepare_dataset
from phi3k_trainer.data.reading import RowBuilder
from phi3k_trainer.data.rows.rejection import Rejection
from phi3k_trainer.data.rows.row import Record, Row
from phi3k_trainer.data.sources.messages import READER
from phi3k_trainer.prompts.conversation import split_at_images
from phi3k_trainer.prompts.encoding import IGNORED, encode
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.templates.image_tags import literal
from tests.unit.trainer.data.making import png, recipe, write_jsonl, write_picture

GOOD = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    def prepare(**data: Any) -> Dataset:
        return prepare_dataset(recipe(tmp_path / "cache", source="messages", **data), None)

    return prepare


def the_one(dataset: Dataset) -> Example:
    (example,) = dataset.train
    return example


def said(example: Example) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in example.turns]


def shades(example: Example) -> list[int]:
    return [Image.open(image.path).convert("L").getpixel((0, 0)) for image in example.images]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


def asked(*content: Any, answer: Any = "A coat.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": answer}]}


def test_pictures_of_every_form_stand_where_their_parts_stand(read: Callable[..., Dataset], tmp_path: Path) -> None:
    for shade in (1, 2):
        write_picture(tmp_path / f"{shade}.png", shade)
    embedded = "data:image/png;base64," + base64.b64encode(png(3)).decode()
    first = [text("Compare"), picture("2.png"), text("with"), {"type": "image", "image": "1.png"}]
    again = [{"type": "image_url", "image_url": embedded}, text("And this?")]
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": first},
        {"role": "assistant", "content": "A cape and a coat."},
        {"role": "user", "content": again},
        {"role": "assistant", "content": [text("A hat.")]},
    ]
    path = write_jsonl(tmp_path / "train.jsonl", [{"id": "x", "messages": talk}])
    example = the_one(read(path=str(path), key="id"))
    assert said(example) == [
        ("system", "Be brief."),
        ("user", "Compare\n<|image_1|>\nwith\n<|image_2|>"),
        ("assistant", "A cape and a coat."),
        ("user", "<|image_3|>\nAnd this?"),
        ("assistant", "A hat."),
    ]
    assert (example.key, shades(example), example.fields) == ("x", [2, 1, 3], {})


def test_the_recipes_system_comes_first_where_a_row_has_none(read: Callable[..., Dataset], tmp_path: Path) -> None:
    own = {"messages": [{"role": "system", "content": "Rhyme."}, *GOOD["messages"]]}
    path = write_jsonl(tmp_path / "train.jsonl", [GOOD, own])
    examples = read(path=str(path), system="Be brief.").train
    assert sorted(example.turns[0].text for example in examples) == ["Be brief.", "Rhyme."]


def test_tags_in_the_words_are_words(read: Callable[..., Dataset], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [asked(text("What is <|image_1|>?"), answer="<|image_2|>")])
    assert said(the_one(read(path=str(path)))) == [("user", "What is <image_1>?"), ("assistant", "<image_2>")]


@pytest.mark.parametrize("form", ["train.json", "train.jsonl", "train.ndjson", "train.jsonl.gz"])
def test_an_array_and_lines_and_compressed_lines_are_read(
    read: Callable[..., Dataset], tmp_path: Path, form: str
) -> None:
    rows = [GOOD, asked(text("What?"))]
    lines = json.dumps(rows) if form == "train.json" else "".join(f"{json.dumps(row)}\n" for row in rows)
    data = lines.encode()
    (tmp_path / form).write_bytes(gzip.compress(data) if form.endswith(".gz") else data)
    assert len(read(path=str(tmp_path / form)).train) == 2


BROKEN = [
    ({}, "bad_conversation"),
    ({"messages": "Hello"}, "bad_conversation"),
    ({"messages": []}, "bad_conversation"),
    ({"messages": [None]}, "bad_conversation"),
    ({"messages": GOOD["messages"][:1]}, "bad_conversation"),
    ({"messages": GOOD["messages"][::-1]}, "bad_conversation"),
    ({"messages": [*GOOD["messages"], {"role": "system", "content": "Stop."}]}, "bad_conversation"),
    ({"messages": [*GOOD["messages"], *GOOD["messages"][1:]]}, "bad_conversation"),
    ({"messages": [{"role": "tool", "content": "1"}, *GOOD["messages"]]}, "bad_conversation"),
    ({"messages": [{"role": ["user"], "content": "Hello"}, GOOD["messages"][1]]}, "bad_conversation"),
    (asked({"type": "input_audio", "input_audio": {}}), "bad_conversation"),
    (asked({"type": "text", "text": None}), "bad_conversation"),
    (asked({"type": "image_url", "image_url": {"file_id": "1"}}), "bad_conversation"),
    (asked("Hello"), "bad_conversation"),
    (asked(), "bad_conversation"),
    (asked(text("Draw one."), answer=[picture("1.png")]), "bad_conversation"),
    (asked(text("Hello"), answer=None), "bad_conversation"),
    (asked(text("Hello"), answer=" "), "empty_text"),
    (asked(text("Hello"), answer="\ud83d"), "bad_text"),
    (asked(picture("")), "missing_image"),
    (asked(picture("file:///etc/passwd")), "forbidden_scheme"),
    (asked(picture("data:image/png;base64,####")), "unreadable"),
    (asked(picture("data:image/png;base64," + base64.b64encode(bytes(2000)).decode())), "too_many_bytes"),
    (asked(picture("none.png")), "missing_file"),
]


@pytest.mark.parametrize(("row", "reason"), BROKEN)
def test_a_row_that_cannot_be_used_is_set_aside_with_its_place(
    read: Callable[..., Dataset], tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [GOOD, row])
    (rejection,) = read(path=str(path), error_budget=0.5, max_bytes=1000).quarantine.rejections
    assert rejection.reason == reason
    assert rejection.detail.startswith("train.jsonl:2: ")


@pytest.mark.parametrize("more", [{"weight": 0}, {"tool_calls": [{"id": "1"}]}, {"name": "Ann"}])
def test_what_would_change_what_is_learned_is_not_left_out_silently(
    read: Callable[..., Dataset], tmp_path: Path, more: dict[str, Any]
) -> None:
    whole = {"messages": [GOOD["messages"][0], {**GOOD["messages"][1], "weight": 1, "refusal": None}]}
    odd = {"messages": [GOOD["messages"][0], {**GOOD["messages"][1], **more}]}
    path = write_jsonl(tmp_path / "train.jsonl", [whole, odd])
    (rejection,) = read(path=str(path), error_budget=0.5).quarantine.rejections
    assert f"the assistant's message has '{next(iter(more))}', which is not read" in rejection.detail


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
USER = st.one_of(WORDS, st.lists(st.one_of(WORDS.map(text), st.integers(0, 9)), min_size=1, max_size=5))
ANSWER = st.one_of(WORDS, st.lists(WORDS.map(text), min_size=1, max_size=3))
TALKS = st.lists(st.tuples(USER, ANSWER), min_size=1, max_size=3)
TOKENIZER = train_tokenizer(["What colour?", "It is green."], 300)


def rows_of(lines: list[str]) -> list[Row | Rejection]:
    """What becomes of the lines of a file."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "train.jsonl")
        path.write_text("".join(f"{line}\n" for line in lines))
        section = recipe(Path(name), source="messages", path=str(path), image_root="/pictures").data
        builder = RowBuilder(section)
        return [
            builder.build(record) if isinstance(record, Record) else record
            for record in READER.read(section, builder.needed_columns)
            if isinstance(record, Record | Rejection)
        ]


def parts_of(content: Any) -> list[Any]:
    """Words, and the numbers of pictures."""
    parts = [content] if isinstance(content, str) else content
    return [part["text"] if isinstance(part, dict) else part for part in parts]


def written(content: Any) -> Any:
    """The content as it stands in the file."""
    if isinstance(content, str):
        return content
    return [{"type": "image", "image": f"{part}.png"} if isinstance(part, int) else part for part in content]


@settings(max_examples=60, deadline=None)
@given(TALKS)
def test_words_and_pictures_of_any_conversation_keep_their_order_down_to_the_tokens(
    talk: list[tuple[Any, Any]],
) -> None:
    turns = [turn for pair in talk for turn in zip(("user", "assistant"), pair, strict=True)]
    messages = [{"role": role, "content": written(content)} for role, content in turns]
    (row,) = rows_of([json.dumps({"messages": messages})])
    assert isinstance(row, Row)
    shown = [part for question, _ in talk for part in parts_of(question) if isinstance(part, int)]
    assert [source.location for source in row.images] == [f"/pictures/{number}.png" for number in shown]
    expected = [parts_of(content) for pair in talk for content in pair]
    numbers = iter(range(1, len(shown) + 1))
    lines = [
        "\n".join(literal(part) if isinstance(part, str) else f"<|image_{next(numbers)}|>" for part in parts)
        for parts in expected
    ]
    assert [turn.text for turn in row.turns] == lines
    encoding = encode(row.turns, [1] * len(shown), TOKENIZER)
    assert [-token for token in encoding.input_ids if token < 0] == list(range(1, len(shown) + 1))
    learned = TOKENIZER.decode(encoding.labels[encoding.labels != IGNORED])
    assert learned.count("<|end|>") >= len(talk)
    assert all(not split_at_images(turn.text)[1] for turn in row.turns if turn.role == "assistant")


NAMES = st.sampled_from(["role", "content", "type", "text", "image", "image_url", "url"])
VALUES = st.sampled_from([None, True, 7, 0.5, "", "user", "assistant", "text", "image", "image_url"])
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON, st.binary(max_size=30))
def test_whatever_a_row_holds_it_is_a_row_or_a_rejection_and_the_next_is_read(value: Any, noise: bytes) -> None:
    torn = noise.decode("latin-1").replace("\n", " ").replace("\r", " ")
    found = rows_of([json.dumps({"messages": value}), f"{{{torn}", json.dumps(GOOD)])
    assert len(found) == 3
    assert isinstance(found[1], Rejection)
    assert isinstance(found[2], Row)
