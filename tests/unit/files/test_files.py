"""Files of ours: whole or not at all, read as they were written, JSON for every reader."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.json
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import MissingInputError, StorageError
from phi3k_trainer.files import (
    decode_json,
    encode_json,
    path_from_text,
    path_to_text,
    read_document,
    read_json,
    read_json_lines,
    write_atomically,
)

SEPARATORS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""All that str.splitlines takes for the end of a line."""
any_text = st.text(st.one_of(st.sampled_from(SEPARATORS), st.characters(exclude_categories=["Cs"])))


def test_files_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.umask(0o022); from pathlib import Path; "
        "from phi3k_trainer.files import write_atomically; write_atomically(Path(sys.argv[1]), b'x', 'data.cache')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("field", ["data.cache", "checkpoint.directory"])
def test_a_place_that_cannot_be_written_is_named_by_its_field(tmp_path: Path, field: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=rf"check {field} and its permissions"):
        write_atomically(tmp_path / "file" / "below", b"x", field)


@given(st.dictionaries(any_text, any_text | st.integers() | st.none()))
def test_lines_are_read_as_they_were_written_whatever_text_they_hold(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    path.write_bytes(encode_json(row) + encode_json({"last": True}))
    assert list(read_json_lines(path, "")) == [row, {"last": True}]
    assert len(path.read_text().splitlines()) == 2, "another reader finds other lines"


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_strict_readers_take_what_is_written_even_of_half_characters(text: str) -> None:
    written = encode_json({"text": text, "score": float("nan"), "worst": [float("inf")]})
    read = json.loads(written.decode(), parse_constant=pytest.fail)
    read["text"].encode()
    assert (read["score"], read["worst"]) == (None, [None])


def test_an_arrow_reader_takes_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encode_json({"key": os.fsdecode(b"caf\xe9")}))
    assert pyarrow.json.read_json(path).to_pylist() == [{"key": "caf\\udce9"}]


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_path_keeps_its_bytes_through_text(name: bytes) -> None:
    path = Path("/data") / os.fsdecode(name)
    path_to_text(path).encode()
    assert path_from_text(path_to_text(path)) == path


@pytest.mark.parametrize(
    "text", [b"NaN", b'{"a": Infinity}', b"\xff", b"", b'{"a": 1', b"[" * 100_000, b'{"a": 1} trailing']
)
def test_what_is_not_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode_json(text)


def test_a_damaged_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(MissingInputError, match=r"rows\.jsonl can't be used: line 2: .*\. Remove it$"):
        list(read_json_lines(path, "Remove it"))


def test_a_document_of_another_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text("[1]")
    with pytest.raises(MissingInputError, match=r"facts\.json can't be used"):
        read_json(path)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "loop", "link to a fifo"])
def test_nothing_but_a_regular_file_is_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    with pytest.raises(OSError):
        read_document(path)


def test_a_file_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(MissingInputError, match="bytes"):
        read_json(path)
