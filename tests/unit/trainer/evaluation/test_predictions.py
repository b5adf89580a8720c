"""Predictions on disk: read as they were written."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.evaluation.predictions import Prediction, read_predictions, write_predictions

names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, ord("/")} & set(name) and set(name) != {ord(".")}
)
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\x1c\x85\u2028\u2029"))


@given(st.lists(st.tuples(names, texts), max_size=4))
def test_names_and_texts_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "predictions.jsonl"
    written = [
        Prediction(f"row {number}", (Path("/data") / os.fsdecode(name),), text, text, text, {"a": text}, None)
        for number, (name, text) in enumerate(rows)
    ]
    write_predictions(path, written)
    assert read_predictions(path) == written
