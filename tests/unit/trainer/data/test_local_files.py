"""What a recipe's data consists of on this machine: the table, and the pictures that its rows name."""

from pathlib import Path

import pytest

from phi3k_trainer.data.local_files import LocalFiles, local_files
from phi3k_trainer.errors import DataError, MissingInputError, UsageError
from phi3k_trainer.recipe.data import DataSection


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a table and pictures beside it, and more pictures elsewhere."""
    for name in ("shop/pictures/cape.jpg", "shop/pictures/coat.jpg", "shop/notes.txt", "archive/old.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "shop"


def found(shop: Path, *pictures: str, **more: object) -> LocalFiles:
    table = shop / "products.csv"
    table.write_text("title,image\n" + "".join(f"t,{picture}\n" for picture in pictures))
    section = {"source": "csv", "path": str(table), "answer": "{title}", **more}
    return local_files(DataSection.model_validate(section))


def below(files: LocalFiles) -> list[str]:
    return [str(path.relative_to(files.base)) for path in (*files.pictures, *files.sources)]


def test_a_table_comes_after_the_pictures_that_its_rows_name(shop: Path) -> None:
    files = found(shop, "pictures/cape.jpg", "pictures/cape.jpg")
    assert files.base == shop
    assert below(files) == ["pictures/cape.jpg", "products.csv"]


def test_pictures_beside_the_tables_folder_keep_their_way_to_it(shop: Path) -> None:
    files = found(shop, "pictures/cape.jpg", "../archive/old.jpg")
    assert files.base == shop.parent
    assert below(files) == ["shop/pictures/cape.jpg", "archive/old.jpg", "shop/products.csv"]


def test_pictures_start_from_image_root(shop: Path) -> None:
    files = found(shop, "old.jpg", image_root=str(shop.parent / "archive"))
    assert files.base == shop.parent
    assert files.image_root == shop.parent / "archive"
    assert below(files) == ["archive/old.jpg", "shop/products.csv"]


def test_what_is_not_here_and_what_is_on_the_web_is_counted(shop: Path) -> None:
    files = found(shop, "pictures/none.jpg", "pictures/cape.jpg", "https://example.com/a.jpg")
    assert (files.missing, files.addresses) == (1, 1)
    assert below(files) == ["pictures/cape.jpg", "products.csv"]


def test_an_absolute_path_is_refused_with_its_row(shop: Path) -> None:
    with pytest.raises(DataError, match=r"^products\.csv:3 names its picture by the absolute path .*coat\.jpg"):
        found(shop, "pictures/cape.jpg", str(shop / "pictures/coat.jpg"))


def test_of_a_folder_with_tables_come_the_tables_and_their_pictures(shop: Path) -> None:
    found(shop, "pictures/cape.jpg")
    files = local_files(DataSection(source="csv", path=str(shop), answer="{title}"))
    assert files.path == files.base == shop
    assert below(files) == ["pictures/cape.jpg", "products.csv"]


def test_of_a_folder_of_pictures_comes_all_that_it_holds(shop: Path) -> None:
    files = local_files(DataSection(source="imagefolder", path=str(shop / "pictures"), answer="{label}"))
    assert files.base == shop / "pictures"
    assert below(files) == ["cape.jpg", "coat.jpg"]


@pytest.mark.parametrize(
    "section",
    [
        {"source": "sample", "answer": "{title}"},
        {"source": "hf", "path": "owner/name", "answer": "{title}"},
    ],
    ids=["sample", "hub"],
)
def test_what_is_not_on_this_machine_is_refused(section: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="there is nothing to push"):
        local_files(DataSection.model_validate(section))


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        local_files(DataSection(source="csv", path=str(tmp_path / "none.csv"), answer="{title}"))
