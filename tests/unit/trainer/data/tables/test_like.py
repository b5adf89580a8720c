import itertools
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from phi3k_trainer.data.sample.like import looks, write_catalogue_like
from phi3k_trainer.data.tables.compare import ColumnComparison, compare_tables
from phi3k_trainer.errors import DataError, OutputError

from .real_tables import real_rows, write_real

ROWS = 800


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real(tmp_path_factory.mktemp("real") / "real.parquet")


@pytest.fixture(scope="module")
def alike(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue_like(real, ROWS, 0, tmp_path_factory.mktemp("like") / "made")


@pytest.fixture(scope="module")
def compared(real: Path, alike: Path) -> dict[str, ColumnComparison]:
    return {column.name: column for column in compare_tables(real, alike).columns}


def values(path: Path, *names: str) -> list[tuple[object, ...]]:
    table = pq.read_table(path, columns=list(names))
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


@pytest.mark.parametrize(
    "column", ["title", "itemurl", "imageurl", "product_code", "brand", "website_name", "currency_code"]
)
def test_no_value_that_points_at_a_real_product_or_shop_is_copied(real: Path, alike: Path, column: str) -> None:
    assert not set(values(real, column)) & set(values(alike, column))


def test_no_title_has_the_price_it_has_in_the_real_table(real: Path, alike: Path) -> None:
    assert not set(values(real, "title", "full_price")) & set(values(alike, "title", "full_price"))


def test_a_category_of_few_products_is_not_given_away(real: Path, alike: Path) -> None:
    assert 0 < Counter(values(real, "category3_code"))[("ONE OF A KIND",)] < 12
    generated = Counter(values(alike, "category3_code", "flg_discount"))
    original = Counter(values(real, "category3_code", "flg_discount"))
    assert all(original[group] >= 5 for group in generated)


def test_the_columns_and_types_are_those_of_the_real_table(real: Path, alike: Path) -> None:
    assert pq.read_schema(alike).equals(pq.read_schema(real))


def test_frequencies_quantiles_lengths_and_missing_rates_are_close(compared: dict[str, ColumnComparison]) -> None:
    far = {name: column for name, column in compared.items() if column.distance > 0.08}
    assert far == {}
    for column in compared.values():
        before, after = column.missing_rates
        assert abs((before or 0) - (after or 0)) < 0.04


def test_the_closeness_is_nearly_that_of_two_samples_of_one_source(real: Path, alike: Path, tmp_path: Path) -> None:
    sibling = write_real(tmp_path / "sibling.parquet", ROWS, seed=1)
    assert compare_tables(real, alike).closeness > compare_tables(real, sibling).closeness - 0.03


def test_prices_keep_to_their_category(real: Path, alike: Path) -> None:
    def median(path: Path, category: str) -> float:
        prices = sorted(
            float(str(price)) for name, price in values(path, "category3_code", "full_price") if name == category
        )
        return prices[len(prices) // 2]

    for category in ("QUILTED JACKETS", "POLO SHIRTS", "CARD CASES", "SNEAKERS"):
        assert median(alike, category) == pytest.approx(median(real, category), rel=0.15)


def test_a_price_below_the_full_price_goes_with_the_flag(alike: Path) -> None:
    for full, price, flag in values(alike, "full_price", "price", "flg_discount"):
        assert (float(str(price)) < float(str(full))) == bool(flag)


def test_converted_prices_keep_the_rate_of_exchange(alike: Path) -> None:
    rows = [row for row in values(alike, "price", "price_eur") if row[1] is not None]
    near = sum(abs(float(str(euros)) / float(str(price)) / 1.17 - 1) < 0.02 for price, euros in rows)
    assert near > 0.95 * len(rows)


def test_every_row_has_a_picture_of_its_own(alike: Path) -> None:
    locations = [str(location) for (location,) in values(alike, "imageurl")]
    assert len(set(locations)) == ROWS
    with Image.open(alike.parent / locations[-1]) as picture:
        assert picture.size == (336, 336)


def test_the_looks_fill_the_ranks_from_the_plainest_to_the_dearest() -> None:
    found = looks()
    assert found[0].lowest_rank == 0
    assert (found[0].pattern, found[0].glossy, found[0].logo) == ("", False, False)
    assert sum(look.share for look in found) == pytest.approx(1)
    assert all(b.lowest_rank == pytest.approx(a.lowest_rank + a.share) for a, b in itertools.pairwise(found))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(real: Path, tmp_path: Path) -> None:
    one, same, other = (
        write_catalogue_like(real, 20, seed, tmp_path / name) for name, seed in (("one", 4), ("same", 4), ("other", 5))
    )
    assert one.read_bytes() == same.read_bytes()
    assert one.read_bytes() != other.read_bytes()


def test_pictures_have_the_size_asked_for(real: Path, tmp_path: Path) -> None:
    table = write_catalogue_like(real, 2, 0, tmp_path / "made", image_size=96)
    with Image.open(table.parent / str(values(table, "imageurl")[0][0])) as picture:
        assert picture.size == (96, 96)


def test_a_catalogue_like_other_data_is_refused(real: Path, tmp_path: Path) -> None:
    write_catalogue_like(real, 5, 0, tmp_path / "made")
    other = write_real(tmp_path / "other.parquet", 100, seed=9)
    with pytest.raises(OutputError, match="something else"):
        write_catalogue_like(other, 5, 0, tmp_path / "made")


def test_a_table_too_small_to_hide_its_rows_is_refused(tmp_path: Path) -> None:
    small = write_real(tmp_path / "small.parquet", 10)
    with pytest.raises(DataError, match="too few to learn from"):
        write_catalogue_like(small, 5, 0, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_tables_without_prices_pictures_or_plain_types_work_too(tmp_path: Path) -> None:
    rows = [
        {"name": row["title"], "shade": row["category1_code"], "tags": ["a", "b"], "ok": row["flg_discount"] == 1}
        for row in real_rows(200)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet")
    made = write_catalogue_like(tmp_path / "plain.parquet", 50, 0, tmp_path / "made")
    assert pq.read_table(made).column("tags").null_count == 50
    assert not (made.parent / "images").exists()
