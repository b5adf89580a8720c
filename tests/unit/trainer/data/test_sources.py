"""Each kind of source, read from real files into examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from phi3k_trainer.data.dataset import Dataset, Example, prepare_dataset
from phi3k_trainer.data.sources.files import names_local_path
from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.prompts.conversation import Turn
from tests.unit.trainer.data.making import ANSWER, png, recipe, write_jsonl, write_picture

CAPE = {"title": "Wool Cape", "price": 990.0}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    def prepare(**data: Any) -> Dataset:
        return prepare_dataset(recipe(tmp_path / "cache", **data), None)

    return prepare


def the_one(dataset: Dataset) -> Example:
    (example,) = dataset.train
    return example


def said(example: Example) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in example.turns]


def shades(example: Example) -> list[int]:
    return [Image.open(image.path).convert("L").getpixel((0, 0)) for image in example.images]


def test_jsonl_gives_conversation_fields_and_picture(read: Callable[..., Dataset], tmp_path: Path) -> None:
    write_picture(tmp_path / "cape.png", 7)
    path = write_jsonl(tmp_path / "rows.jsonl", [{**CAPE, "image": "cape.png"}])
    example = the_one(read(source="jsonl", path=str(path), system="Be brief."))
    assert example.turns == (
        Turn("system", "Be brief."),
        Turn("user", "<|image_1|>\nWhat is shown in this image?"),
        Turn("assistant", "Product: Wool Cape, Price: 990.0"),
    )
    assert example.fields == {"title": "Wool Cape", "price": "990.0"}
    assert [(image.width, image.height) for image in example.images] == [(40, 30)]
    assert shades(example) == [7]


@pytest.mark.parametrize("absent", [{}, {"image": None}, {"image": []}])
def test_jsonl_rows_without_a_picture_are_text_only(
    read: Callable[..., Dataset], tmp_path: Path, absent: dict[str, Any]
) -> None:
    write_picture(tmp_path / "cape.png", 7)
    path = write_jsonl(tmp_path / "rows.jsonl", [{**CAPE, **absent}, {**CAPE, "image": "cape.png"}])
    by_pictures = {len(example.images): example for example in read(source="jsonl", path=str(path)).train}
    assert by_pictures[0].turns[0].text == "What is shown in this image?"
    assert len(by_pictures) == 2


def test_several_picture_columns_and_lists_keep_their_order(read: Callable[..., Dataset], tmp_path: Path) -> None:
    for shade in (1, 2, 3):
        write_picture(tmp_path / f"{shade}.png", shade)
    path = write_jsonl(tmp_path / "rows.jsonl", [{**CAPE, "front": ["3.png", "1.png"], "back": "2.png"}])
    prompt = "Back <|image_3|>, front <|image_1|> <|image_2|>?"
    example = the_one(read(source="jsonl", path=str(path), image=["front", "back"], prompt=prompt))
    assert shades(example) == [3, 1, 2]
    assert example.turns[0].text == prompt


def test_csv_values_are_text_as_it_stands(read: Callable[..., Dataset], tmp_path: Path) -> None:
    write_picture(tmp_path / "cape.png", 7)
    path = tmp_path / "rows.csv"
    path.write_text('\ufefftitle,price,code,image\n"Cape, ""long""\nwool",0990.50,007,cape.png\n', encoding="utf-8")
    example = the_one(read(source="csv", path=str(path), key="code"))
    assert example.key == "007"
    assert example.fields == {"title": 'Cape, "long"\nwool', "price": "0990.50"}


def test_csv_text_can_be_formatted_as_a_number(read: Callable[..., Dataset], tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("title\tprice\nCape\t990\n")
    example = the_one(read(source="csv", path=str(path), image=None, answer="{title}: {price:.2f}"))
    assert example.turns[-1].text == "Cape: 990.00"


@pytest.mark.parametrize("form", ["path", "bytes", "struct", "list"])
def test_parquet_pictures_are_paths_bytes_structs_or_lists(
    read: Callable[..., Dataset], tmp_path: Path, form: str
) -> None:
    write_picture(tmp_path / "cape.png", 7)
    picture = {
        "path": "cape.png",
        "bytes": png(7),
        "struct": {"bytes": png(7), "path": None},
        "list": [{"bytes": png(7), "path": "x"}],
    }[form]
    pq.write_table(pa.Table.from_pylist([{**CAPE, "image": picture}]), tmp_path / "rows.parquet")
    assert shades(the_one(read(source="parquet", path=str(tmp_path / "rows.parquet")))) == [7]


def test_a_directory_of_parquet_files_is_one_data_set(read: Callable[..., Dataset], tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(pa.table({"title": [f"Coat {number}"], "price": [1.0]}), tmp_path / f"part-{number}.parquet")
    assert len(read(source="parquet", path=str(tmp_path), image=None).train) == 3


@pytest.mark.parametrize("splits", [True, False])
def test_hf_reads_what_save_to_disk_wrote(read: Callable[..., Dataset], tmp_path: Path, splits: bool) -> None:
    features = datasets.Features(
        {
            "title": datasets.Value("string"),
            "price": datasets.Value("float64"),
            "kind": datasets.ClassLabel(names=["coat", "cape"]),
            "image": datasets.Image(),
            "details": datasets.List(datasets.Image()),
        }
    )
    row = {**CAPE, "kind": 1, "image": Image.new("L", (8, 8), 7), "details": [Image.new("L", (8, 8), 9)]}
    table = datasets.Dataset.from_list([row], features=features)
    saved = datasets.DatasetDict({"validation": table}) if splits else table
    saved.save_to_disk(str(tmp_path / "saved"))
    example = the_one(
        read(
            source="hf",
            path=str(tmp_path / "saved"),
            split="validation",
            image=["image", "details"],
            answer="A {kind}: {title}",
        )
    )
    assert shades(example) == [7, 9]
    assert example.fields["kind"] == "cape"


def test_hf_reads_a_local_folder_as_the_hub_holds_it(
    read: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    (tmp_path / "repo").mkdir()
    table = datasets.Dataset.from_list([{**CAPE, "image": Image.new("L", (8, 8), 7)}])
    table.cast_column("image", datasets.Image()).to_parquet(str(tmp_path / "repo" / "train.parquet"))
    assert shades(the_one(read(source="hf", path=str(tmp_path / "repo")))) == [7]


def test_imagefolder_takes_metadata_beside_the_pictures(read: Callable[..., Dataset], tmp_path: Path) -> None:
    root = tmp_path / "folder"
    write_picture(root / "a" / "cape.png", 7)
    write_jsonl(root / "a" / "metadata.jsonl", [{"file_name": "cape.png", **CAPE}])
    write_picture(root / "b" / "coat.png", 8)
    (root / "b" / "metadata.csv").write_text("file_name,title,price\ncoat.png,Coat,5\n")
    examples = read(source="imagefolder", path=str(root)).train
    assert sorted((shades(example)[0], example.fields["title"]) for example in examples) == [
        (7, "Wool Cape"),
        (8, "Coat"),
    ]


def test_imagefolder_without_metadata_labels_by_folder(read: Callable[..., Dataset], tmp_path: Path) -> None:
    write_picture(tmp_path / "folder" / "capes" / "one.png", 7)
    example = the_one(read(source="imagefolder", path=str(tmp_path / "folder"), answer="It is: {label}"))
    assert example.fields == {"label": "capes"}
    assert shades(example) == [7]


def write_llava(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps(rows))
    return str(path)


def talk(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(values)]


def test_llava_image_tags_are_numbered_where_they_stand(read: Callable[..., Dataset], tmp_path: Path) -> None:
    for shade in (1, 2):
        write_picture(tmp_path / f"{shade}.png", shade)
    conversation = talk("Compare <image> with\n<image>?", "The second <image> is lighter.", "Sure?", "Yes.")
    path = write_llava(
        tmp_path / "talk.json", [{"id": "x", "image": ["2.png", "1.png"], "conversations": conversation}]
    )
    example = the_one(read(source="llava", path=path, key="id", system="Be brief."))
    assert said(example) == [
        ("system", "Be brief."),
        ("user", "Compare <|image_1|> with\n<|image_2|>?"),
        ("assistant", "The second <image> is lighter."),
        ("user", "Sure?"),
        ("assistant", "Yes."),
    ]
    assert (example.key, shades(example), example.fields) == ("x", [2, 1], {})


def test_llava_rows_without_image_are_text_only(read: Callable[..., Dataset], tmp_path: Path) -> None:
    path = write_llava(tmp_path / "talk.json", [{"id": "t", "conversations": talk("Hello", "Good day")}])
    assert the_one(read(source="llava", path=path)).images == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": talk("Hello")}, "bad_conversation"),
        ({"conversations": talk("Hello", "Hi")[::-1]}, "bad_conversation"),
        ({"conversations": [{"from": "dog", "value": "Wuff"}]}, "bad_conversation"),
        ({"conversations": [{"from": ["human"], "value": "Hello"}]}, "bad_conversation"),
        ({"conversations": {"human": "Hello"}}, "bad_conversation"),
        ({"image": {"name": "1.png"}, "conversations": talk("<image>", "Hi")}, "missing_image"),
        ({"conversations": []}, "bad_conversation"),
        ({"image": "1.png", "conversations": talk("No tag", "Hi")}, "image_tags"),
        ({"image": "1.png", "conversations": talk("<image><image>", "Hi")}, "image_tags"),
        ({"conversations": talk("<image>", "Hi")}, "image_tags"),
        ({"conversations": talk("Hello", " ")}, "empty_text"),
        ({"conversations": talk("Hello", "\ud83d")}, "bad_text"),
    ],
)
def test_llava_rows_that_do_not_add_up_are_set_aside(
    read: Callable[..., Dataset], tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    write_picture(tmp_path / "1.png", 1)
    good = {"conversations": talk("Hello", "Good day")}
    path = write_llava(tmp_path / "talk.json", [row, good])
    assert read(source="llava", path=path, error_budget=0.5).quarantine.counts == {reason: 1}


def dbq_row(**values: Any) -> dict[str, Any]:
    return {"title": "CAPE", "category3_code": "CAPES", "product_code": 1, "full_price": 990.0, **values}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_dbq_takes_a_local_table_of_any_form_and_its_own_picture_column(
    read: Callable[..., Dataset], tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "no-ending").write_bytes(png(7))
    table = datasets.Dataset.from_list([dbq_row(imageurl="no-ending")])
    path = str(tmp_path / f"table.{suffix}")
    {"parquet": table.to_parquet, "csv": table.to_csv, "jsonl": table.to_json}[suffix](path)
    answer = "Product: {title}, Category: {category3_code}, Full Price: {full_price}"
    example = the_one(read(source="dbq", path=path, answer=answer))
    assert example.turns[-1].text == "Product: CAPE, Category: CAPES, Full Price: 990.0"
    assert shades(example) == [7]


def test_sample_draws_its_catalogue_once(read: Callable[..., Dataset], tmp_path: Path) -> None:
    data = {"source": "sample", "sample": {"rows": 6, "image_size": 64}, "answer": "{title}"}
    first = read(**data)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "sample").rglob("*")}
    assert read(**data).train == first.train
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "sample").rglob("*")} == before
    assert len(first.train) == 6


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet", "hf", "dbq", "imagefolder"])
def test_a_missing_column_names_the_columns_there_are_and_the_nearest(
    read: Callable[..., Dataset], tmp_path: Path, source: str
) -> None:
    table = datasets.Dataset.from_list([{"titel": "Cape", "price": 1.0, "file_name": "x.png", "imageurl": "x.png"}])
    paths = {
        "csv": tmp_path / "t.csv",
        "jsonl": tmp_path / "t.jsonl",
        "parquet": tmp_path / "t.parquet",
        "dbq": tmp_path / "t.parquet",
        "hf": tmp_path / "saved",
        "imagefolder": tmp_path / "folder",
    }
    table.to_csv(paths["csv"])
    table.to_json(paths["jsonl"])
    table.to_parquet(paths["parquet"])
    table.save_to_disk(str(paths["hf"]))
    paths["imagefolder"].mkdir()
    table.to_csv(str(paths["imagefolder"] / "metadata.csv"))
    picture = {} if source in ("dbq", "imagefolder") else {"image": "imageurl"}
    with pytest.raises(DataError) as caught:
        read(source=source, path=str(paths[source]), **picture)
    assert "'title' is missing (did you mean 'titel'?)" in str(caught.value)
    assert "price" in str(caught.value)


def test_a_picture_column_that_no_row_has_is_an_error_and_not_text_only_training(
    read: Callable[..., Dataset], tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{**CAPE, "img": "cape.png"}])
    with pytest.raises(DataError, match=r"'image' is missing \(did you mean 'img'\?\)"):
        read(source="jsonl", path=str(path))


def test_a_path_that_is_not_there_names_the_nearest(read: Callable[..., Dataset], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [CAPE])
    with pytest.raises(MissingInputError, match=r"row\.jsonl does not exist \(did you mean 'rows\.jsonl'\?\)"):
        read(source="jsonl", path=str(tmp_path / "row.jsonl"))


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("parquet", b"PAR1 but not really"),
        ("llava", b"{not json"),
        ("llava", b"[{not json"),
        ("csv", b"title,pr\xffce\nCoat,1\n"),
        ("csv", "title,price\nCoat,1\n".encode("utf-16-le")),
    ],
)
def test_a_damaged_file_is_a_data_error_that_names_it(
    read: Callable[..., Dataset], tmp_path: Path, source: str, content: bytes
) -> None:
    file = tmp_path / f"broken.{ {'llava': 'json'}.get(source, source) }"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\."):
        read(source=source, path=str(file), image=None)


def test_lines_that_are_no_rows_are_set_aside_one_by_one(read: Callable[..., Dataset], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(CAPE)}\n\n[1, 2]\n{{broken\n")
    dataset = read(source="jsonl", path=str(path), image=None, error_budget=0.7, answer=ANSWER)
    assert dataset.quarantine.counts == {"unreadable_row": 2}
    assert {rejection.key for rejection in dataset.quarantine.rejections} == {"rows.jsonl:3", "rows.jsonl:4"}


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("DBQ/Burberry.Product.prices.United.States", False),
        ("squad", False),
        ("./prices", True),
        ("~/prices", True),
        ("/data/prices", True),
        ("data/prices.parquet", True),
    ],
)
def test_a_hub_name_is_told_from_a_path(path: str, local: bool) -> None:
    section = recipe(Path("cache"), source="dbq", path=path).data
    assert names_local_path(section) is local
