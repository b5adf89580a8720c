"""Tables with odd values, of odd forms and in odd places: what can't be read is set aside by its place, or named."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi3k_trainer.data.dataset import Dataset, prepare_dataset
from phi3k_trainer.data.sources.files import TableFile
from phi3k_trainer.data.sources.parquet import parquet_file
from phi3k_trainer.errors import DataError, MissingInputError
from tests.unit.trainer.data.making import recipe, write_jsonl, write_picture


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    def prepare(**data: Any) -> Dataset:
        path = str(data.pop("path", tmp_path / "data"))
        return prepare_dataset(recipe(tmp_path / "cache", **{"error_budget": 0.5, "path": path, **data}), None)

    return prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def titles(dataset: Dataset) -> list[str]:
    return sorted(example.fields["title"] for example in dataset.train)


def set_aside(dataset: Dataset) -> dict[str, str]:
    return {rejection.key: rejection.reason for rejection in dataset.quarantine.rejections}


# Rows in several folders


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))


def write_llava(path: Path, rows: list[dict[str, Any]]) -> None:
    turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "A coat."}]
    path.write_text(json.dumps([{"image": row["image"], "conversations": turns} for row in rows]))


def write_metadata(path: Path, rows: list[dict[str, Any]]) -> None:
    write_csv(path, [{"file_name": row.pop("image"), **row} for row in rows])


WRITERS = {
    "jsonl": (write_jsonl, "rows.jsonl"),
    "csv": (write_csv, "rows.csv"),
    "parquet": (write_parquet, "rows.parquet"),
    "llava": (write_llava, "rows.json"),
    "imagefolder": (write_metadata, "metadata.csv"),
}


@pytest.mark.parametrize("source", WRITERS)
def test_equal_cells_in_two_folders_are_two_rows_when_they_show_other_pictures(
    read: Callable[..., Dataset], folder: Path, source: str
) -> None:
    write, name = WRITERS[source]
    for number, shop in enumerate(("shop-a", "shop-b")):
        write_picture(folder / shop / "0.png", number)
        write(folder / shop / name, [{"title": "Coat", "price": 1.0, "image": "0.png"}])
    dataset = read(source=source)
    assert (len(dataset.train), dataset.repeated) == (2, 0)
    assert len({example.images[0].sha256 for example in dataset.train}) == 2


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet", "llava"])
def test_equal_cells_in_two_folders_are_one_row_when_they_show_one_picture(
    read: Callable[..., Dataset], folder: Path, source: str
) -> None:
    write, name = WRITERS[source]
    write_picture(folder / "pictures/0.png", 7)
    for shop in ("shop-a", "shop-b"):
        (folder / shop).mkdir()
        write(folder / shop / name, [{"title": "Coat", "price": 1.0, "image": "0.png"}])
    dataset = read(source=source, image_root=str(folder / "pictures"))
    assert (len(dataset.train), dataset.repeated) == (1, 1)


def test_a_copied_folder_repeats_its_rows(read: Callable[..., Dataset], folder: Path) -> None:
    for shop in ("shop", "copy of shop"):
        write_picture(folder / shop / "0.png", 7)
        write_jsonl(folder / shop / "rows.jsonl", [{"title": "Coat", "price": 1.0, "image": "0.png"}])
    dataset = read(source="jsonl")
    assert (len(dataset.train), dataset.repeated) == (1, 1)


def test_where_the_files_lie_does_not_change_the_data(read: Callable[..., Dataset], tmp_path: Path) -> None:
    for root in (tmp_path / "data", tmp_path / "moved elsewhere"):
        for shop in range(5):  # equal cells, so that the pictures alone order the rows
            write_picture(root / f"shop-{shop}/0.png", shop)
            write_jsonl(root / f"shop-{shop}/rows.jsonl", [{"title": "Coat", "price": 1.0, "image": "0.png"}])
    here, there = (read(source="jsonl", path=tmp_path / name) for name in ("data", "moved elsewhere"))
    assert len(here.train) == 5
    assert here.digest == there.digest


def test_bad_rows_in_equal_places_of_two_folders_are_both_counted(read: Callable[..., Dataset], folder: Path) -> None:
    for shop in ("shop-a", "shop-b"):
        (folder / shop).mkdir()
        (folder / shop / "rows.jsonl").write_text(f'{{"title": "{shop}", "price": 1}}\n[1, 2]\n')
    dataset = read(source="jsonl", image=None)
    assert set_aside(dataset) == {"shop-a/rows.jsonl:2": "unreadable_row", "shop-b/rows.jsonl:2": "unreadable_row"}


def test_folders_in_hives_layout_give_columns(read: Callable[..., Dataset], folder: Path) -> None:
    for price in ("10", "20"):
        (folder / f"price={price}").mkdir()
        write_parquet(folder / f"price={price}/part.parquet", [{"title": f"Coat for {price}"}])
    examples = read(source="parquet", image=None).train
    assert {example.fields["title"]: example.fields["price"] for example in examples} == {
        "Coat for 10": "10",
        "Coat for 20": "20",
    }


# Files that are not read


def test_leftovers_are_not_read_and_counted(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / ".ipynb_checkpoints").mkdir()
    for name in ("rows.csv", "._rows.csv", ".ipynb_checkpoints/rows-checkpoint.csv"):
        (folder / name).write_text(f"title,price\n{name},1\n")
    dataset = read(source="csv", image=None)
    assert titles(dataset) == ["rows.csv"]
    (remark,) = dataset.remarks
    assert "2 hidden or temporary files and folders" in remark
    assert "._rows.csv, .ipynb_checkpoints" in remark


def test_pictures_in_leftovers_are_no_rows(read: Callable[..., Dataset], folder: Path) -> None:
    for name in ("capes/1.png", "__MACOSX/capes/._1.png", ".cache/2.png"):
        write_picture(folder / name, 7)
    dataset = read(source="imagefolder", answer="{label}")
    assert [example.fields["label"] for example in dataset.train] == ["capes"]
    assert "2 hidden or temporary" in dataset.remarks[0]


def test_a_leftover_that_changes_does_not_prepare_the_data_again(
    read: Callable[..., Dataset], folder: Path, tmp_path: Path
) -> None:
    write_csv(folder / "rows.csv", [{"title": "Coat", "price": 1}])
    read(source="csv", image=None)
    (folder / ".rows.csv.swp").touch()
    read(source="csv", image=None)
    assert len(list((tmp_path / "cache/prepared").iterdir())) == 1


def test_tables_of_other_kinds_are_named(read: Callable[..., Dataset], folder: Path) -> None:
    write_csv(folder / "rows.csv", [{"title": "Coat", "price": 1}])
    for name in ("more.xlsx", "more.csv.xz", "more.jsonl"):
        (folder / name).touch()
    (remark,) = read(source="csv", image=None).remarks
    assert "more.csv.xz, more.jsonl, more.xlsx" in remark


@pytest.mark.parametrize(("source", "name"), [("csv", "rows.xlsx"), ("csv", "rows.parquet"), ("parquet", "rows.arrow")])
def test_a_file_of_another_kind_is_refused_by_its_ending(
    read: Callable[..., Dataset], folder: Path, source: str, name: str
) -> None:
    (folder / name).touch()
    with pytest.raises(DataError, match=rf"ends in \.{name.split('.')[1]}, which source '{source}' does not read"):
        read(source=source, path=folder / name)


def test_a_device_is_not_read(read: Callable[..., Dataset]) -> None:
    with pytest.raises(MissingInputError, match="neither a file nor a directory"):
        read(source="csv", path="/dev/null")


def test_a_directory_without_a_table_says_what_is_there(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.xlsx").touch()
    with pytest.raises(MissingInputError, match=r"without any \.csv or \.tsv file; there are rows\.xlsx"):
        read(source="csv")


def test_a_delta_table_is_not_read_as_its_files(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "_delta_log").mkdir()
    write_parquet(folder / "part.parquet", [{"title": "Coat", "price": 1.0}])
    with pytest.raises(DataError, match="Delta table"):
        read(source="parquet", image=None)


def test_pictures_that_no_metadata_names_are_counted(read: Callable[..., Dataset], folder: Path) -> None:
    for number in range(3):
        write_picture(folder / f"{number}.png", number)
    (folder / "metadata.csv").write_text("file_name,title,price\n0.png,Coat,1\n")
    (remark,) = read(source="imagefolder").remarks
    assert remark.startswith("2 pictures below")
    assert "1.png, 2.png" in remark


def test_imagefolder_reads_metadata_in_parquet(read: Callable[..., Dataset], folder: Path) -> None:
    write_picture(folder / "0.png", 7)
    write_parquet(folder / "metadata.parquet", [{"file_name": "0.png", "title": "Coat", "price": 1.0}])
    assert titles(read(source="imagefolder")) == ["Coat"]


def test_pictures_of_a_format_that_is_not_read_are_set_aside_by_name(
    read: Callable[..., Dataset], folder: Path
) -> None:
    write_picture(folder / "coats/0.jfif", 7)
    (folder / "coats/1.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    dataset = read(source="imagefolder", answer="{label}")
    assert len(dataset.train) == 1
    assert list(set_aside(dataset).values()) == ["unsupported_format"]


def test_too_many_bad_rows_end_the_run_with_the_place_of_the_first(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.csv").write_text('title,price\nCoat,"1\nCape,2\n')
    with pytest.raises(DataError, match=r"The first: rows\.csv:2: a quotation mark that opens a value in line 2"):
        read(source="csv", image=None, error_budget=0.0)


# Text files of odd forms


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_tables_are_read(
    read: Callable[..., Dataset], folder: Path, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    (folder / f"rows.csv{ending}").write_bytes(compress(b"title,price\nCoat,1\n"))
    assert titles(read(source="csv", image=None)) == ["Coat"]


def test_json_lines_may_be_compressed(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.jsonl.zst").write_bytes(pa.compress(b'{"title": "Coat", "price": 1}', "zstd", asbytes=True))
    assert titles(read(source="jsonl", image=None)) == ["Coat"]


def test_an_array_of_conversations_may_be_compressed(read: Callable[..., Dataset], folder: Path) -> None:
    turns = [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]
    text = json.dumps([{"conversations": turns}], indent=1)
    (folder / "rows.json.gz").write_bytes(gzip.compress(text.encode()))
    assert len(read(source="llava").train) == 1


def test_a_damaged_compressed_table_is_an_error_that_names_it(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(b"title,price\n" + b"Coat,1\n" * 99)[:-20])
    with pytest.raises(DataError, match=r"rows\.csv\.gz"):
        read(source="csv", image=None)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("source", "text"), [("csv", "title,price\nMäntel,1\n"), ("jsonl", '{"title":"Mäntel","price":1}')]
)
def test_text_is_read_in_the_encoding_that_its_first_bytes_say(
    read: Callable[..., Dataset], folder: Path, source: str, text: str, encoding: str
) -> None:
    (folder / f"rows.{source}").write_bytes(text.encode(encoding))
    assert titles(read(source=source, image=None)) == ["Mäntel"]


@pytest.mark.parametrize("source", ["csv", "jsonl"])
def test_bytes_that_are_not_utf8_cost_their_row_alone_and_only_where_they_are_used(
    read: Callable[..., Dataset], folder: Path, source: str
) -> None:
    rows = [("Coat", "plain"), ("M\xe4ntel", "plain"), ("Cape", "\xe4")]
    lines = [json.dumps({"title": title, "price": 1, "note": note}, ensure_ascii=False) for title, note in rows]
    if source == "csv":
        lines = ["title,price,note", *(f"{title},1,{note}" for title, note in rows)]
    (folder / f"rows.{source}").write_bytes("\n".join(lines).encode("latin-1"))
    dataset = read(source=source, image=None)
    assert titles(dataset) == ["Cape", "Coat"]
    assert list(set_aside(dataset).values()) == ["bad_text"]


def test_rows_with_too_few_or_too_many_values_are_set_aside_by_their_line(
    read: Callable[..., Dataset], folder: Path
) -> None:
    (folder / "rows.csv").write_text("title,price\nCoat,1\nCape\nHat,2,3\nScarf,4\n")
    dataset = read(source="csv", image=None)
    assert titles(dataset) == ["Coat", "Scarf"]
    assert set_aside(dataset) == {"rows.csv:3": "unreadable_row", "rows.csv:4": "unreadable_row"}


def test_a_used_column_that_stands_in_the_header_twice_is_refused(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.csv").write_text("title,price,title,note,note\nCoat,1,Cape,a,b\n")
    with pytest.raises(DataError, match="several columns named 'title'"):
        read(source="csv", image=None)


def test_a_value_that_may_have_swallowed_rows_is_remarked_on(read: Callable[..., Dataset], folder: Path) -> None:
    (folder / "rows.csv").write_text('code,price,title\n1,1,"Coat\n2,2,Cape\n3,3,TV 13"\n4,4,"Scarf\nof wool"\n')
    dataset = read(source="csv", image=None)
    assert len(dataset.train) == 2
    (remark,) = dataset.remarks
    assert remark.startswith("1 rows of rows.csv hold")
    assert "rows.csv:2" in remark


# Values that can't be read


@pytest.mark.parametrize(
    "line",
    [
        '{"title": "Cape", "price": 2, "note": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"title": "Cape", "title": "Hat", "price": 2}',
        '{"title": "Cape", "price": NaN}',
        '{"title": "Cape", "price": 1e999}',
        '{"title": "half \\ud83d", "price": 2}',
        '{"title": "Cape", "price": ' + "[" * 900 + "]" * 900 + "}",
    ],
)
def test_a_json_line_that_cannot_be_used_costs_its_row_alone(
    read: Callable[..., Dataset], folder: Path, line: str
) -> None:
    (folder / "rows.jsonl").write_text(f'{{"title": "Coat", "price": 1}}\n{line}\n{{"title": "Scarf", "price": 3}}\n')
    dataset = read(source="jsonl", image=None)
    assert titles(dataset) == ["Coat", "Scarf"]
    assert len(dataset.quarantine.rejections) == 1


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1" * 5000, '"\\ud83d"', "1e999"])
def test_an_odd_json_value_that_the_recipe_does_not_use_costs_nothing(
    read: Callable[..., Dataset], folder: Path, value: str
) -> None:
    (folder / "rows.jsonl").write_text(f'{{"title": "Coat", "price": 1, "note": {value}}}\n')
    assert titles(read(source="jsonl", image=None)) == ["Coat"]


def not_utf8() -> pa.Array:
    return pa.array([b"fine", b"\xff\xfe"]).cast(pa.binary()).view(pa.string())


def year_30000() -> pa.Array:
    return pa.array([0, 900_000_000_000], pa.int64()).cast(pa.timestamp("s"))


@pytest.mark.parametrize("odd", [not_utf8, year_30000])
@pytest.mark.parametrize("source", ["parquet", "hf"])
@pytest.mark.parametrize("used", [True, False])
def test_a_value_that_python_cannot_represent_costs_its_row_and_only_where_it_is_used(
    read: Callable[..., Dataset], folder: Path, source: str, odd: Callable[[], pa.Array], used: bool
) -> None:
    table = pa.table({"title": ["Coat", "Cape"], "odd": odd()})
    path = folder / ("rows.parquet" if source == "parquet" else "saved")
    if source == "parquet":
        pq.write_table(table, path)
    else:
        datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(str(path))
    dataset = read(source=source, path=path, image=None, answer="{title}: {odd}" if used else "{title}")
    assert titles(dataset) == (["Coat"] if used else ["Cape", "Coat"])
    assert len(dataset.quarantine.rejections) == int(used)
    assert all(
        ":2: column 'odd' has a value that can't be read" in each.detail for each in dataset.quarantine.rejections
    )


def labelled(labels: list[int | None]) -> datasets.Dataset:
    features = datasets.Features(title=datasets.Value("string"), kind=datasets.ClassLabel(names=["coat", "cape"]))
    rows = [{"title": f"Item {number}", "kind": label} for number, label in enumerate(labels)]
    return datasets.Dataset.from_list(rows, features=features)


@pytest.mark.parametrize("source", ["hf", "parquet"])
def test_class_labels_are_their_names_and_minus_one_is_no_label(
    read: Callable[..., Dataset], folder: Path, source: str
) -> None:
    table, path = labelled([0, 1, -1, None]), str(folder / "rows.parquet")
    table.to_parquet(path) if source == "parquet" else table.save_to_disk(path)
    dataset = read(source=source, path=path, image=None, answer="{title}: {kind}")
    assert sorted(example.fields["kind"] for example in dataset.train) == ["cape", "coat"]
    assert list(set_aside(dataset).values()) == ["missing_value"] * 2


@pytest.mark.parametrize("source", ["hf", "parquet"])
def test_a_class_label_of_minus_one_that_the_recipe_does_not_use_costs_nothing(
    read: Callable[..., Dataset], folder: Path, source: str
) -> None:
    table, path = labelled([0, -1]), str(folder / "rows.parquet")
    table.to_parquet(path) if source == "parquet" else table.save_to_disk(path)
    assert len(read(source=source, path=path, image=None, answer="{title}").train) == 2


@pytest.mark.parametrize("source", ["hf", "parquet"])
def test_rows_of_which_no_column_is_used_are_rows(read: Callable[..., Dataset], folder: Path, source: str) -> None:
    table, path = labelled([0, 1]), str(folder / "rows.parquet")
    table.to_parquet(path) if source == "parquet" else table.save_to_disk(path)
    dataset = read(source=source, path=path, image=None, prompt="Say yes.", answer="Yes.")
    assert len(dataset.train) + dataset.repeated == 2


def test_a_text_that_a_parquet_file_holds_once_is_kept_once(folder: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["x" * 1_000_000]))
    nested = pa.StructArray.from_arrays([texts.cast(pa.string())], ["text"])
    pq.write_table(
        pa.table({"text": texts, "nested": nested}), folder / "rows.parquet", dictionary_pagesize_limit=10**7
    )
    del texts, nested
    before = pa.total_allocated_bytes()
    file = TableFile(folder / "rows.parquet", "rows.parquet", folder, {})
    highest = max(pa.total_allocated_bytes() - before for _ in parquet_file(file, ("text",), ("nested",)))
    assert highest < 20_000_000


def test_a_conversation_that_no_context_holds_is_set_aside(read: Callable[..., Dataset], folder: Path) -> None:
    talks = [[{"from": "human", "value": text}, {"from": "gpt", "value": "Yes."}] for text in ("Hi?", "x" * 1_000_001)]
    (folder / "rows.json").write_text(json.dumps([{"conversations": talk} for talk in talks]))
    dataset = read(source="llava")
    assert (len(dataset.train), list(set_aside(dataset).values())) == (1, ["too_long"])
