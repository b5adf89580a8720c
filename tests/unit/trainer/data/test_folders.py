"""What lies below a directory of data: tables, pictures, and what is not data."""

from pathlib import Path

import pytest

from phi3k_trainer.data.sources.folders import files_below, leftovers_below, partition_columns


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "leftover",
    [
        ".ipynb_checkpoints/rows-checkpoint.csv",
        "__MACOSX/rows.csv",
        "_temporary/0/rows.csv",
        "._rows.csv",
        ".#rows.csv",
        "#rows.csv#",
        "rows.csv~",
        "rows.csv.bak",
        "~$rows.xlsx",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
    ],
)
def test_leftovers_of_editors_and_systems_are_not_data_but_known(tmp_path: Path, leftover: str) -> None:
    touch(tmp_path, leftover, "shop/rows.csv")
    assert files_below(tmp_path) == [tmp_path / "shop/rows.csv"]
    assert leftovers_below(tmp_path) == [tmp_path / leftover.split("/")[0]]


def test_a_hidden_directory_that_is_named_itself_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ".data/rows.csv")
    assert files_below(tmp_path / ".data") == [tmp_path / ".data/rows.csv"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/rows.csv", "data/own.csv")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "data")
    assert files_below(tmp_path / "data") == [tmp_path / "data/linked/rows.csv", tmp_path / "data/own.csv"]


def test_folder_names_in_hives_layout_are_columns() -> None:
    file = Path("/data/split=train/shop=%C3%BCber%20all/day=__HIVE_DEFAULT_PARTITION__/part=0.parquet")
    assert partition_columns(Path("/data"), file) == {"split": "train", "shop": "über all", "day": None}
