import os
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from phi3k_trainer.data.sample.catalogue import write_catalogue
from phi3k_trainer.data.tables.report import write_data_report
from phi3k_trainer.errors import DataError, MissingInputError, StorageError
from phi3k_trainer.recipe.data import SampleSection

from .real_tables import write_real


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(SampleSection(rows=200, image_size=64), tmp_path_factory.mktemp("report") / "made")


def test_the_report_shows_prices_categories_words_sizes_and_pictures(catalogue: Path, tmp_path: Path) -> None:
    text = write_data_report(catalogue.parent, tmp_path / "report.html").read_text()
    for heading in ("full_price by category3_code", "category3_code", "Words in title", "Width x height in pixels"):
        assert f"<figcaption>{heading}" in text
    assert "64 x 64" in text
    assert text.count("<img ") == 18
    assert set(re.findall(r'src="([^:]*):', text)) == {"data"}


def test_a_directory_and_its_table_give_the_same_report(catalogue: Path, tmp_path: Path) -> None:
    one = write_data_report(catalogue, tmp_path / "one.html").read_text()
    other = write_data_report(catalogue.parent, tmp_path / "other.html").read_text()
    assert one.replace(catalogue.name, "") == other.replace(catalogue.parent.name, "")


def test_pictures_behind_urls_are_counted_and_not_fetched(tmp_path: Path) -> None:
    real = write_real(tmp_path / "real.parquet", 150)
    text = write_data_report(real, tmp_path / "report.html").read_text()
    assert "150 are behind URLs and were not fetched." in text
    assert "<img " not in text


def test_pictures_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    table = write_catalogue(SampleSection(rows=30, image_size=64), tmp_path / "made")
    pictures = sorted((tmp_path / "made" / "images" / "0000").iterdir())
    pictures[3].write_bytes(b"not a picture")
    pictures[7].unlink()
    pictures[9].unlink()
    os.mkfifo(pictures[9])
    text = write_data_report(table, tmp_path / "report.html").read_text()
    assert "Sizes of 27 pictures. 3 could not be read." in text


def test_texts_are_measured_in_tokens_where_a_tokenizer_is_given(catalogue: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"Red": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = write_data_report(catalogue, tmp_path / "report.html", tokenizer=tmp_path).read_text()
    assert "<figcaption>Tokens in title" in text


def test_a_missing_or_broken_tokenizer_is_named(catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"tokenizer\.json: no such tokenizer file"):
        write_data_report(catalogue, tmp_path / "report.html", tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        write_data_report(catalogue, tmp_path / "report.html", tokenizer=tmp_path)


def test_a_page_that_cannot_be_written_is_an_error_of_storage(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"report\.html failed"):
        write_data_report(catalogue, tmp_path / "file" / "report.html")
