import hashlib
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from phi3k_trainer.data.sample.catalogue import write_catalogue
from phi3k_trainer.data.tables.table import SCHEMA
from phi3k_trainer.errors import OutputError, StorageError
from phi3k_trainer.recipe.data import SampleSection

SECTION = SampleSection(rows=400, image_size=64)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(SECTION, tmp_path_factory.mktemp("catalogue") / "made")


def digest(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(table: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(table).to_pylist()
    return rows


def test_the_table_has_the_columns_and_types_of_the_real_sets(catalogue: Path) -> None:
    assert pq.read_schema(catalogue).equals(SCHEMA)
    assert len(rows_of(catalogue)) == SECTION.rows


def test_every_row_has_a_picture_of_the_size_asked_for_without_a_file_ending(catalogue: Path) -> None:
    for row in rows_of(catalogue):
        location = Path(str(row["imageurl"]))
        assert not location.suffix
        assert Image.open(BytesIO((catalogue.parent / location).read_bytes())).size == (64, 64)


def test_the_same_section_gives_the_same_bytes(catalogue: Path, tmp_path: Path) -> None:
    again = write_catalogue(SECTION, tmp_path / "again")
    assert digest(again.parent) == digest(catalogue.parent)


def test_another_seed_gives_another_catalogue(catalogue: Path, tmp_path: Path) -> None:
    other = write_catalogue(SampleSection(rows=50, image_size=64, seed=1), tmp_path / "other")
    assert [row["title"] for row in rows_of(other)] != [row["title"] for row in rows_of(catalogue)][:50]


def test_a_larger_catalogue_begins_with_the_smaller_one(catalogue: Path, tmp_path: Path) -> None:
    small = write_catalogue(SampleSection(rows=50, image_size=64), tmp_path / "small")
    assert rows_of(small) == rows_of(catalogue)[:50]
    for row in rows_of(small):
        location = str(row["imageurl"])
        assert (small.parent / location).read_bytes() == (catalogue.parent / location).read_bytes()


def test_a_finished_catalogue_is_not_written_again(tmp_path: Path) -> None:
    table = write_catalogue(SampleSection(rows=5, image_size=64), tmp_path / "once")
    before = table.stat().st_mtime_ns
    assert write_catalogue(SampleSection(rows=5, image_size=64), tmp_path / "once") == table
    assert table.stat().st_mtime_ns == before


def test_a_directory_with_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        write_catalogue(SampleSection(rows=5, image_size=64), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_catalogue_of_another_section_is_refused(tmp_path: Path) -> None:
    write_catalogue(SampleSection(rows=5, image_size=64), tmp_path / "one")
    with pytest.raises(OutputError, match="choose another directory"):
        write_catalogue(SampleSection(rows=6, image_size=64), tmp_path / "one")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("phi3k_trainer.data.sample.catalogue.write_picture", full)
    with pytest.raises(StorageError, match="No space left"):
        write_catalogue(SampleSection(rows=5, image_size=64), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_price_factor_raises_prices_and_changes_nothing_else(catalogue: Path, tmp_path: Path) -> None:
    dearer = write_catalogue(SampleSection(rows=100, image_size=64, price_factor=1.5), tmp_path / "dearer")
    for plain, dear in zip(rows_of(catalogue), rows_of(dearer), strict=False):
        assert 1.2 < float(str(dear["full_price"])) / float(str(plain["full_price"])) < 1.9
        assert dear["title"] == plain["title"]


def test_the_extended_kinds_are_two_more_than_the_basic_ones(catalogue: Path, tmp_path: Path) -> None:
    extended = write_catalogue(SampleSection(rows=400, image_size=64, kinds="extended"), tmp_path / "extended")
    more = {row["category3_code"] for row in rows_of(extended)} - {row["category3_code"] for row in rows_of(catalogue)}
    assert more == {"HATS", "UMBRELLAS"}


def test_equal_titles_and_pictures_have_equal_prices(catalogue: Path) -> None:
    price_of: dict[bytes, object] = {}
    for row in rows_of(catalogue):
        picture = (catalogue.parent / str(row["imageurl"])).read_bytes()
        assert price_of.setdefault(picture, row["full_price"]) == row["full_price"]


def test_flaws_of_real_data_occur_and_are_rare(tmp_path: Path) -> None:
    table = write_catalogue(SampleSection(rows=2000, image_size=32), tmp_path / "flaws")
    rows = rows_of(table)
    flawed = sum(row["itemurl"] == "N.A." for row in rows)
    pictures = {(table.parent / str(row["imageurl"])).read_bytes() for row in rows}
    assert 0 < flawed < 0.03 * len(rows)
    assert 0.97 * len(rows) < len(pictures) < len(rows)
    assert all("N.A." not in {row["title"], row["category3_code"], row["imageurl"]} for row in rows)
    assert len({row["product_code"] for row in rows}) == len(rows)
