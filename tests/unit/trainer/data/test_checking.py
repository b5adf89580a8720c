"""What `phi3k data check` says about prepared data."""

from pathlib import Path
from typing import Any

import pytest

from phi3k_trainer.data.checking import DataCheck, Spread, check_dataset, encoder_at_hand
from phi3k_trainer.data.dataset import prepare_dataset
from phi3k_trainer.data.encoding import Encoder
from phi3k_trainer.model.tiny import tiny_config
from phi3k_trainer.prompts.vocabulary import train_tokenizer
from phi3k_trainer.recipe.model import TinySection
from tests.unit.trainer.data.making import recipe, write_jsonl, write_picture, write_products


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def check(cache: Path, path: Path, **data: Any) -> DataCheck:
    chosen = recipe(cache, source="jsonl", path=str(path), **data)
    return check_dataset(
        prepare_dataset(chosen, None),
        num_crops=4,
        max_tokens=8192,
        eval_fraction=chosen.data.eval_fraction,
        max_new_tokens=64,
    )


def test_rows_pictures_and_answers_are_counted(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 30)
    with path.open("a") as file:
        file.write('{"title": "N.A.", "price": 1, "image": "images/0.png"}\n{"title": "Words", "price": 1}\n')
    found = check(cache, path, eval_fraction=0.3)
    assert found.train + found.evaluation == 31
    assert (found.quarantined, found.reasons) == (1, {"missing_value": 1})
    assert (found.text_only, found.pictures, found.different_pictures, found.different_answers) == (1, 30, 30, 31)


def test_sizes_are_given_as_smallest_median_and_largest(tmp_path: Path, cache: Path) -> None:
    for number, width in enumerate((50, 60, 700)):
        write_picture(tmp_path / f"{number}.png", number, width=width, height=50)
    rows = [{"title": f"Coat {n}", "price": 1.0, "image": f"{n}.png"} for n in range(3)]
    found = check(cache, write_jsonl(tmp_path / "rows.jsonl", rows))
    assert found.picture_width == Spread(50, 60, 700)
    assert found.crops == Spread(5, 5, 5)
    assert found.tokens is None


def test_rows_are_shown_as_the_model_reads_them(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "Cape", "price": 5}])
    (shown,) = check(cache, path, image=None, prompt="What is it?").shown
    assert shown == "<|user|>\nWhat is it?<|end|>\n<|assistant|>\nProduct: Cape, Price: 5<|end|>\n"


@pytest.mark.parametrize(
    ("rows", "remark"),
    [
        ([{"title": "Coat", "price": 1.0, "image": f"{n}.png"} for n in range(3)], "All rows have the same answer"),
        ([{"title": f"Coat {n}", "price": 1.0, "image": "1.png"} for n in range(3)], "3 of 3 rows show the same"),
        ([{"title": f"Coat {n}", "price": 1.0, "image": []} for n in range(3)], "No row has a picture"),
    ],
)
def test_what_looks_like_a_mistake_is_remarked_on(
    tmp_path: Path, cache: Path, rows: list[dict[str, Any]], remark: str
) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", number)
    found = check(cache, write_jsonl(tmp_path / "rows.jsonl", rows))
    assert len(found.remarks) == 1
    assert found.remarks[0].startswith(remark)


def test_sound_data_has_no_remarks(tmp_path: Path, cache: Path) -> None:
    assert check(cache, write_products(tmp_path, 20)).remarks == ()


def test_an_evaluation_that_groups_make_larger_than_asked_for_is_remarked_on(tmp_path: Path, cache: Path) -> None:
    rows = [{"title": f"Coat {n}", "price": 1.0, "code": min(n, 20)} for n in range(100)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = check(cache, path, image=None, key="code", eval_fraction=0.3)
    assert found.evaluation in range(2, 15)  # the eighty rows of code 20 are trained on
    assert "21 groups, the largest of 80 rows" in found.remarks[-1]


def test_a_row_that_is_too_long_for_the_model_is_set_aside_and_no_longer_trained_on(
    tmp_path: Path, cache: Path
) -> None:
    rows = [
        {"title": "Coat", "price": 1.0},
        {"title": "Long coat " * 50, "price": 1.0},
        {"title": "Cape", "price": 1.0},
    ]
    chosen = recipe(cache, source="jsonl", path=str(write_jsonl(tmp_path / "rows.jsonl", rows)), image=None)
    tokenizer = train_tokenizer(["What is shown in this image?", "Product: Coat, Price: 1.0"], 300)
    config = tiny_config(TinySection(vocabulary_size=300, patch_size=84), tokenizer)
    encoder = Encoder(tokenizer, config, num_crops=4, max_pixels=10**6)
    dataset = prepare_dataset(chosen, None)
    found = check_dataset(dataset, 4, encoder, max_tokens=200, eval_fraction=0.0, max_new_tokens=64)
    assert (found.rows, found.train, found.quarantined, found.reasons) == (3, 2, 1, {"too_long": 1})


@pytest.mark.parametrize(("words", "remarked"), [(3, False), (300, True)])
def test_held_out_answers_that_cannot_be_generated_are_counted_in_the_models_tokens(
    tmp_path: Path, cache: Path, words: int, remarked: bool
) -> None:
    rows = [{"title": f"{number} " + "coat " * words, "price": 1.0, "image": []} for number in range(20)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    chosen = recipe(cache, source="jsonl", path=str(path), eval_fraction=0.5)
    dataset = prepare_dataset(chosen, None)
    encoder = encoder_at_hand(chosen, dataset)
    assert encoder is not None
    found = check_dataset(dataset, 4, encoder, max_tokens=8192, eval_fraction=0.5, max_new_tokens=64)
    assert found.tokens is not None
    count = f"{found.evaluation} of {found.evaluation} held-out answers are longer than evaluation.max_new_tokens 64"
    assert any(remark.startswith(count) for remark in found.remarks) is remarked


def test_without_a_tokenizer_it_says_that_answers_are_not_counted(tmp_path: Path, cache: Path) -> None:
    found = check(cache, write_products(tmp_path, 30), eval_fraction=0.3)
    assert any("evaluation.max_new_tokens 64 is enough for the answers is not known" in one for one in found.remarks)
