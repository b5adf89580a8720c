"""prepare_dataset: the same rows again and again, whatever the order, the cache and the number of processes."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from phi3k_trainer.data.dataset import Dataset, prepare_dataset
from phi3k_trainer.errors import DataError
from phi3k_trainer.progress import Progress
from tests.unit.trainer.data.making import png, recipe, write_jsonl, write_picture, write_products


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def prepare(cache: Path, path: Path, run: Path | None = None, **data: Any) -> Dataset:
    return prepare_dataset(recipe(cache, source="jsonl", path=str(path), **data), run)


def keys(dataset: Dataset) -> list[str]:
    return [example.key for example in (*dataset.train, *dataset.evaluation)]


def shuffle(path: Path, seed: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    random.Random(seed).shuffle(lines)
    path.write_text("".join(lines))


def test_the_order_of_the_file_says_nothing(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 40)
    first = prepare(cache, path, eval_fraction=0.3)
    shuffle(path, 1)
    again = prepare(cache, path, eval_fraction=0.3)
    assert (again.train, again.evaluation, again.digest) == (first.train, first.evaluation, first.digest)


def test_max_rows_takes_the_same_rows_whatever_the_order_and_keeps_them_when_it_grows(
    tmp_path: Path, cache: Path
) -> None:
    path = write_products(tmp_path, 60)
    ten = prepare(cache, path, max_rows=10)
    shuffle(path, 2)
    assert keys(prepare(cache, path, max_rows=10)) == keys(ten)
    assert keys(prepare(cache, path, max_rows=20))[:10] == keys(ten)
    assert keys(prepare(cache, path))[:10] == keys(ten)


def test_max_rows_does_not_favour_a_side_of_the_split(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 300)
    dataset = prepare(cache, path, max_rows=100, eval_fraction=0.3)
    assert 15 <= len(dataset.evaluation) <= 45


def test_pictures_that_come_as_bytes_are_only_stored_when_their_row_is_chosen(tmp_path: Path, cache: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"title": f"Coat {index}", "price": 1.0, "image": png(index % 256, 30 + index)} for index in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    section = {"source": "parquet", "path": str(tmp_path / "rows.parquet"), "max_rows": 5}
    dataset = prepare_dataset(recipe(cache, **section), None)
    stored = [file for file in (cache / "store" / "objects").rglob("*") if file.is_file()]
    assert len(dataset.train) == 5
    assert len(stored) < 60  # about 5 x (1 + ln(200 / 5)) rows were among the first five at some time


def test_the_very_same_row_counts_once(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 5)
    path.write_text(path.read_text() * 3)
    dataset = prepare(cache, path)
    assert (len(dataset.train), dataset.repeated, dataset.quarantine.considered) == (5, 10, 5)


def test_rows_with_one_key_and_other_content_are_kept_together(tmp_path: Path, cache: Path) -> None:
    rows = [{"title": f"Coat {n}", "price": 1.0, "code": n % 20} for n in range(60)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    dataset = prepare(cache, path, image=None, key="code", eval_fraction=0.4)
    assert len(keys(dataset)) == 60
    assert not {example.key for example in dataset.train} & {example.key for example in dataset.evaluation}


def test_rows_that_show_one_picture_are_on_one_side(tmp_path: Path, cache: Path) -> None:
    for number in range(10):  # one picture under ten names
        write_picture(tmp_path / f"{number}.png", 7)
    rows = [{"title": f"Coat {n}", "price": 1.0, "image": f"{n}.png" if n < 10 else None} for n in range(60)]
    dataset = prepare(cache, write_jsonl(tmp_path / "rows.jsonl", rows), eval_fraction=0.4)
    assert len({bool(example.images) for example in dataset.evaluation} | {True, False}) == 2
    sides = [side for side in (dataset.train, dataset.evaluation) if any(example.images for example in side)]
    assert len(sides) == 1


def test_a_local_picture_is_used_where_it_is(tmp_path: Path, cache: Path) -> None:
    dataset = prepare(cache, write_products(tmp_path, 3))
    assert all(example.images[0].path.parent == tmp_path / "images" for example in dataset.train)
    assert not (cache / "store" / "objects").exists()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"title": "N.A."}, "missing_value"),
    ({"title": "  "}, "missing_value"),
    ({"title": None}, "missing_value"),
    ({"price": float("nan")}, "missing_value"),
    ({"price": float("inf")}, "missing_value"),
    ({"title": ["a", "list"]}, "unusable_value"),
    ({"image": "N.A."}, "missing_image"),
    ({"image": ""}, "missing_image"),
    ({"image": 17}, "missing_image"),
    ({"image": [None]}, "missing_image"),
    ({"image": "images/none.png"}, "missing_file"),
    ({"image": "ftp://shop.example/x.png"}, "forbidden_scheme"),
    ({"image": "oss://bucket/x.png"}, "forbidden_scheme"),
    ({"image": "page.html"}, "unsupported_format"),
    ({"image": "empty"}, "empty"),
    ({"image": "torn.png"}, "unreadable"),
    ({"image": "huge.png"}, "too_large"),
    ({"image": "thin.png"}, "too_thin"),
    ({"image": "images"}, "unreadable_file"),
]


@pytest.mark.parametrize(("values", "reason"), BAD)
def test_a_bad_row_is_set_aside_with_its_reason_and_not_trained_on(
    tmp_path: Path, cache: Path, values: dict[str, Any], reason: str
) -> None:
    path = write_products(tmp_path, 3)
    (tmp_path / "page.html").write_text("<html>")
    (tmp_path / "empty").touch()
    (tmp_path / "torn.png").write_bytes(png(7, 200, 200)[:-40])
    write_picture(tmp_path / "huge.png", 7, width=1000, height=1001)
    write_picture(tmp_path / "thin.png", 7, width=5000, height=1)
    with path.open("a") as file:
        row = {"title": "Bad", "price": 1.0, "image": "images/0.png", **values}
        file.write(json.dumps(row) + "\n")
    dataset = prepare(cache, path, max_pixels=1_000_000, error_budget=0.25)
    assert len(dataset.train) == 3
    assert dataset.quarantine.counts == {reason: 1}
    (line,) = dataset.quarantine.path.read_text().splitlines()
    assert json.loads(line)["reason"] == reason


def test_na_is_a_country_and_none_a_word(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "NA", "price": 1.0}, {"title": "None", "price": 2.0}])
    assert len(prepare(cache, path, image=None).train) == 2


def test_over_the_error_budget_the_run_stops_and_the_file_is_there(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "Coat", "price": 1.0}, {"title": "N.A.", "price": 1.0}])
    with pytest.raises(DataError, match="1 of 2 rows can't be used \\(missing_value 1\\)") as caught:
        prepare(cache, path, tmp_path / "run", image=None)
    assert str(tmp_path / "run" / "quarantine.jsonl") in str(caught.value)
    assert (tmp_path / "run" / "quarantine.jsonl").exists()


def test_an_empty_data_set_is_an_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        prepare(cache, write_jsonl(tmp_path / "rows.jsonl", []))


def test_all_rows_in_quarantine_is_an_error_whatever_the_budget(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "N.A.", "price": 1.0}])
    with pytest.raises(DataError, match=r"no row of .* can be used"):
        prepare(cache, path, image=None, error_budget=1.0)


def test_an_empty_side_of_the_split_is_an_error(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"title": "Coat", "price": 1.0}])
    with pytest.raises(DataError, match=r"no row is left for evaluation.*data\.eval_fraction 0 "):
        prepare(cache, path, image=None, eval_fraction=0.001)
    with pytest.raises(DataError, match="no row is left for training"):
        prepare(cache, path, image=None, eval_fraction=0.999)


def test_rows_that_are_all_one_group_cannot_be_split_and_the_error_says_why(tmp_path: Path, cache: Path) -> None:
    rows = [{"title": f"Coat {n}", "price": 1.0, "code": 1} for n in range(20)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match="all 20 rows share a key or a picture"):
        prepare(cache, path, image=None, key="code", eval_fraction=0.1)


def test_a_second_run_reads_nothing_again(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 10)
    first = prepare(cache, path)
    stages: list[Progress] = []
    second = prepare_dataset(recipe(cache, source="jsonl", path=str(path)), None, stages.append)
    assert (second, stages) == (first, [])


@pytest.mark.parametrize("change", ["file", "picture", "template", "max_rows"])
def test_a_change_of_the_input_is_noticed(tmp_path: Path, cache: Path, change: str) -> None:
    path = write_products(tmp_path, 5)
    before = prepare(cache, path)
    data: dict[str, Any] = {}
    match change:
        case "file":
            write_products(tmp_path, 6)
        case "picture":
            write_picture(tmp_path / "images" / "0.png", 99)
        case "template":
            data["prompt"] = "And this?"
        case "max_rows":
            data["max_rows"] = 4
    assert prepare(cache, path, **data).digest != before.digest


def test_a_resumed_run_gets_the_data_it_began_with_without_reading(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 10)
    first = prepare(cache, path, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "dataset.json").read_text())["digest"] == first.digest
    assert prepare(cache, path, tmp_path / "run") == first


def test_a_resumed_run_survives_the_loss_of_the_cache(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 10)
    first = prepare(cache, path, tmp_path / "run")
    assert prepare(tmp_path / "other-cache", path, tmp_path / "run").train == first.train


def test_a_run_whose_data_has_changed_is_not_resumed(tmp_path: Path, cache: Path) -> None:
    path = write_products(tmp_path, 10)
    prepare(cache, path, tmp_path / "run")
    write_products(tmp_path, 11)
    with pytest.raises(DataError, match=r"no longer what the run in .* began with"):
        prepare(cache, path, tmp_path / "run")


def test_what_encoding_set_aside_stays_in_the_runs_quarantine(tmp_path: Path, cache: Path) -> None:
    from phi3k_trainer.data.rows.rejection import Rejection

    path = write_products(tmp_path, 10)
    prepare(cache, path, tmp_path / "run").quarantine.extended([Rejection("long", "too_long", "9,000 tokens")])
    prepare(cache, path, tmp_path / "run")  # another rank, or a resumed run
    assert "too_long" in (tmp_path / "run" / "quarantine.jsonl").read_text()
