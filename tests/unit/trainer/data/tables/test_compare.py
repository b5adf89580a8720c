import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.data.tables.columns import read_columns
from phi3k_trainer.data.tables.compare import HEADINGS, compare_tables, table_rows
from phi3k_trainer.data.tables.distances import by_rank, kolmogorov_smirnov, total_variation
from phi3k_trainer.errors import DataError, MissingInputError

from .real_tables import real_rows, write_real

SAMPLE = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=30)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(min_value=1, max_value=50), min_size=1)


@given(SAMPLE, SAMPLE)
def test_kolmogorov_smirnov_is_the_largest_gap_between_the_distribution_functions(
    one: list[float], other: list[float]
) -> None:
    def share(sample: list[float], place: float) -> float:
        return sum(value <= place for value in sample) / len(sample)

    expected = max(abs(share(one, place) - share(other, place)) for place in one + other)
    assert kolmogorov_smirnov(one, other) == pytest.approx(expected)


@given(COUNTS, COUNTS)
def test_total_variation_is_symmetric_and_between_zero_and_one(one: dict[str, int], other: dict[str, int]) -> None:
    distance = total_variation(one, other)
    assert -1e-12 <= distance <= 1 + 1e-12
    assert distance == pytest.approx(total_variation(other, one))
    assert total_variation(one, {name: 3 * count for name, count in one.items()}) == pytest.approx(0)


def test_distances_of_known_samples() -> None:
    assert kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6]) == 0.5
    assert total_variation({"a": 3, "b": 1}, {"a": 1, "b": 3}) == 0.5
    assert total_variation({"a": 1}, {"b": 1}) == 1
    assert total_variation(by_rank({"a": 3, "b": 1}), by_rank({"x": 1, "y": 3})) == 0
    assert kolmogorov_smirnov([], [1.0]) == 1
    assert total_variation({}, {}) == 0


def test_columns_are_recognised_by_their_values(tmp_path: Path) -> None:
    columns = read_columns(write_real(tmp_path / "real.parquet"))
    kinds = {name: column.kind for name, column in columns.items()}
    assert kinds == {
        **dict.fromkeys(("website_name", "currency_code", "brand", "flg_discount"), "category"),
        **dict.fromkeys(("category1_code", "category2_code", "category3_code"), "category"),
        **dict.fromkeys(("full_price", "price", "price_eur", "stock"), "number"),
        **dict.fromkeys(("itemurl", "imageurl"), "address"),
        "product_code": "identifier",
        "title": "text",
    }


def test_missing_words_count_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x", "N.A.", "n/a", None, ""], "b": [1.0, float("nan"), None, 2.0, 3.0]}), path)
    columns = read_columns(path)
    assert columns["a"].missing_rate == pytest.approx(0.8)
    assert columns["b"].missing_rate == pytest.approx(0.4)


def test_a_table_is_as_close_as_can_be_to_itself(tmp_path: Path) -> None:
    path = write_real(tmp_path / "real.parquet", 200)
    comparison = compare_tables(path, path)
    assert comparison.closeness == 1
    assert all(column.distance == 0 for column in comparison.columns)


def test_two_samples_of_one_source_are_closer_than_a_table_with_shuffled_meaning(tmp_path: Path) -> None:
    real = write_real(tmp_path / "real.parquet")
    sibling = write_real(tmp_path / "sibling.parquet", seed=1)
    changed = [
        {**row, "full_price": row["full_price"] * 3, "category1_code": "SHOES", "title": "X", "price_eur": None}
        for row in real_rows(3000)
    ]
    pq.write_table(pa.Table.from_pylist(changed), tmp_path / "changed.parquet")
    assert compare_tables(real, sibling).closeness > 0.95
    assert compare_tables(real, tmp_path / "changed.parquet").closeness < 0.85


def test_a_column_of_one_table_only_has_no_closeness(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.5, 2.5], "b": ["x", "y"]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": [1.5, 2.5], "c": ["x", "y"]}), tmp_path / "two.parquet")
    comparison = compare_tables(tmp_path / "one.parquet", tmp_path / "two.parquet")
    assert {column.name: column.closeness for column in comparison.columns} == {"a": 1, "b": 0, "c": 0}
    assert comparison.closeness == pytest.approx(1 / 3)


def test_a_column_of_another_kind_has_no_closeness(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.5, 2.5]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "two.parquet")
    (column,) = compare_tables(tmp_path / "one.parquet", tmp_path / "two.parquet").columns
    assert column.closeness == 0
    assert column.types == ("double", "string")


def test_missing_values_lower_the_closeness(tmp_path: Path) -> None:
    rng = random.Random(0)
    values = [rng.random() for _ in range(1000)]
    pq.write_table(pa.table({"a": values}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"a": [v if i % 2 else None for i, v in enumerate(values)]}), tmp_path / "two.parquet")
    (column,) = compare_tables(tmp_path / "one.parquet", tmp_path / "two.parquet").columns
    assert 0.4 < column.closeness < 0.5


def test_a_comparison_can_be_shown_and_stored(tmp_path: Path) -> None:
    path = write_real(tmp_path / "real.parquet", 100)
    comparison = compare_tables(path, path)
    assert json.loads(json.dumps(comparison.as_dict()))["closeness"] == 1
    assert {len(row) for row in table_rows(comparison)} == {len(HEADINGS)}


def test_csv_and_json_lines_are_read_like_parquet(tmp_path: Path) -> None:
    table = pa.table({"a": [1.5, 2.5, 3.5], "b": ["red", "blue", "red"]})
    pq.write_table(table, tmp_path / "t.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    for name in ("t.csv", "t.jsonl"):
        assert compare_tables(tmp_path / "t.parquet", tmp_path / name).closeness == 1


def test_what_is_not_a_table_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("not a table")
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"notes\.parquet is not a table"):
        read_columns(tmp_path / "notes.parquet")
    with pytest.raises(DataError, match=r"empty\.parquet has no rows"):
        read_columns(tmp_path / "empty.parquet")
    with pytest.raises(MissingInputError, match="no such file"):
        read_columns(tmp_path / "absent.parquet")
