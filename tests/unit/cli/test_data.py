"""`phi3k data`, on a small catalogue."""

import json
import re
from pathlib import Path

import pytest

from phi3k.main import main


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "sample"
    assert main(["data", "sample", str(directory), "--rows", "40", "--image-size", "64"]) == 0
    return directory


def test_sample_says_where_the_table_is(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "sample", str(catalogue), "--rows", "40", "--image-size", "64", "--output", "json"]
    assert main(arguments) == 0
    table = Path(json.loads(capsys.readouterr().out)["table"])
    assert table.is_file()
    assert table.parent == catalogue


def test_sample_like_copies_the_structure(catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sample", str(tmp_path / "like"), "--like", str(catalogue), "--rows", "30"]) == 0
    assert "30 rows" in capsys.readouterr().out


def test_compare_finds_a_table_alike_to_itself(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "compare", str(catalogue), str(catalogue), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["closeness"] == pytest.approx(1.0)
    assert main(["data", "compare", str(catalogue), str(catalogue)]) == 0
    assert "Closeness of the whole: 1.000" in capsys.readouterr().out


def test_report_writes_a_page(catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["data", "report", str(catalogue), "--page", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "<html" in page.read_text(encoding="utf-8")


def small_demo(tmp_path: Path) -> list[str]:
    """Overrides that leave the demo's recipe forty small pictures, in a cache of their own."""
    return ["--set", f"data.cache={tmp_path}/cache", "--set", "data.sample={rows: 40, image_size: 64}"]


def test_fetch_counts_rows_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "demo", *small_demo(tmp_path), "--output", "json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["train"] + counted["evaluation"] + counted["repeated"] == 40
    assert counted["quarantined"] == 0


def test_check_shows_a_row_as_the_model_sees_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "demo", *small_demo(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "What is shown in this image?" in shown
    assert "Product: " in shown


def test_check_prints_the_rows_as_the_sum_of_what_became_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "demo", *small_demo(tmp_path), "--set", "data.max_rows=30"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "rows in the files" in line]
    total, *parts = (int(number) for number in re.findall(r"\d+", line))
    assert (total, sum(parts), parts[-1]) == (40, 40, 10)


def test_check_of_a_missing_column_ends_with_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "demo", *small_demo(tmp_path), "--set", "data.answer='{colour}'"]) == 65
    assert "colour" in capsys.readouterr().err
