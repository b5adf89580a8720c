"""Every row of the files is trained on, held out, repeated, set aside or beyond max_rows: the counts add up."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, reject, settings
from hypothesis import strategies as st

from phi3k_trainer.data.checking import DataCheck, check_dataset
from phi3k_trainer.data.dataset import prepare_dataset
from phi3k_trainer.errors import DataError
from tests.unit.trainer.data.making import recipe, write_picture

PICTURES = ("0.png", "1.png", "missing.png", "damaged.png")
good = st.fixed_dictionaries(
    {"title": st.sampled_from(["Coat", "Cape", "Hat"]), "price": st.integers(1, 3), "image": st.sampled_from(PICTURES)}
)

json_lines = st.one_of(
    good.map(json.dumps),
    st.sampled_from(["{broken", "[1]", '{"title": "N.A.", "price": 1}', '{"price": 1}', '{"title": NaN, "price": 1}']),
)
csv_lines = st.one_of(
    good.map(lambda row: f"{row['title']},{row['price']},{row['image']}"),
    good.map(lambda row: f'"two\nlines, {row["title"]}",{row["price"]},{row["image"]}'),
    st.sampled_from(
        ["Coat", "Coat,1,0.png,more", 'Coat,1,"0.png', '"open,1,0.png', '"Coat" new,1,0.png', "N/A,1,0.png"]
    ),
)
# Rows that are good for certain, so that both sides of the split have some.
sure = {
    "jsonl": [f'{{"title": "Scarf {number}", "price": 1, "image": "sure-{number}.png"}}' for number in range(12)],
    "csv": [f"Scarf {number},1,sure-{number}.png" for number in range(12)],
}
files = st.one_of(
    st.tuples(st.just("jsonl"), st.just(""), st.lists(st.lists(json_lines, max_size=8), min_size=1, max_size=3)),
    st.tuples(
        st.just("csv"),
        st.just("title,price,image\n"),
        st.lists(st.lists(csv_lines, max_size=8), min_size=1, max_size=3),
    ),
)


def check(root: Path, source: str, **data: Any) -> DataCheck:
    section = {"source": source, "path": str(root / "data"), "error_budget": 1.0, "eval_fraction": 0.3, **data}
    chosen = recipe(root / "cache", **section)
    return check_dataset(
        prepare_dataset(chosen, None), num_crops=4, max_tokens=8192, eval_fraction=0.3, max_new_tokens=64
    )


@settings(max_examples=20, deadline=None)
@given(files, st.one_of(st.none(), st.integers(8, 16)))
def test_what_becomes_of_the_rows_adds_up_to_the_rows_in_the_files(
    table: tuple[str, str, list[list[str]]], max_rows: int | None
) -> None:
    source, head, folders = table
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for number, lines in enumerate(folders):
            for shade, picture in enumerate(PICTURES[:2]):
                write_picture(root / f"data/{number}/{picture}", 10 * number + shade)
            (root / f"data/{number}/damaged.png").write_bytes(b"none")
            (root / f"data/{number}/rows.{source}").write_text(head + "".join(f"{line}\n" for line in lines))
        for number in range(12):
            write_picture(root / f"data/sure-{number}.png", 100 + number)
        (root / f"data/sure.{source}").write_text(head + "".join(f"{line}\n" for line in sure[source]))
        try:
            found = check(root, source, max_rows=max_rows)
        except DataError:  # nothing is left on one side of the split
            reject()
    assert found.rows == 12 + sum(map(len, folders))
    assert found.rows == (found.train + found.evaluation + found.repeated + found.quarantined + found.beyond_max_rows)
    assert found.beyond_max_rows == 0 or found.rows - found.beyond_max_rows - found.repeated <= (max_rows or 0)
