"""The content-addressed store: whole files or none."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.data.pictures.store import Index, Store


def test_bytes_are_kept_under_their_sha256(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sha256 = store.put(b"a picture")
    assert sha256 == hashlib.sha256(b"a picture").hexdigest()
    assert store.path(sha256).read_bytes() == b"a picture"


def test_the_same_bytes_are_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path(store.put(b"a picture"))
    before = path.stat().st_mtime_ns, path.stat().st_ino
    store.put(b"a picture")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_an_object_cut_short_by_a_power_loss_is_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path(store.put(b"a picture"))
    path.write_bytes(b"a pic")
    store.put(b"a picture")
    assert path.read_bytes() == b"a picture"


@given(name=st.text(), fact=st.dictionaries(st.text(), st.integers() | st.text(), max_size=4))
def test_the_index_gives_back_what_was_noted(tmp_path_factory: pytest.TempPathFactory, name: str, fact: dict) -> None:
    index = Index(tmp_path_factory.getbasetemp() / "index")
    index.put(name, fact)
    assert index.get(name) == fact


def test_a_torn_fact_counts_as_not_there(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.put("url", {"sha256": "abc"})
    (file,) = (file for file in tmp_path.rglob("*.json"))
    file.write_bytes(file.read_bytes()[:5])
    assert index.get("url") is None
