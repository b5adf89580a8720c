"""What stands in a picture cell is recognised without a doubt, or refused in a few words."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.data.cells import image_sources
from phi3k_trainer.data.rows.row import ImageSource, UnusableRowError
from tests.unit.trainer.data.making import png

PICTURE = png(7)
TEXT = base64.b64encode(PICTURE).decode()
LIMIT = 10_000


def sources(value: object, folder: Path | None = Path("/data")) -> tuple[ImageSource, ...]:
    return image_sources(value, folder, "image", LIMIT)


def refused(value: object, folder: Path | None = Path("/data")) -> tuple[str, str]:
    with pytest.raises(UnusableRowError) as caught:
        sources(value, folder)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        f"  {TEXT}\n",
        "\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76)),
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/png;charset=utf-8;base64,{TEXT}",
        f"data:;base64,{TEXT}",
    ],
    ids=["plain", "without padding", "with blanks around", "in lines", "data URI", "with parameters", "without a type"],
)
def test_a_picture_in_base64_is_read(text: str) -> None:
    assert sources(text) == (ImageSource(data=PICTURE),)


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x10\x00\x00\x00WEBPVP8 ", b"II*\x00"])
def test_the_base64_of_every_format_is_told_by_its_first_bytes(start: bytes) -> None:
    data = start + bytes(60)
    assert sources(base64.b64encode(data).decode()) == (ImageSource(data=data),)


def test_a_file_whose_name_could_be_base64_is_that_file(tmp_path: Path) -> None:
    name = base64.b64encode(b"GIF89a" + b"a" * 42).decode()
    assert sources(name, tmp_path)[0].data is not None
    (tmp_path / name).write_bytes(PICTURE)
    assert sources(name, tmp_path) == (ImageSource(location=str(tmp_path / name)),)


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-", min_size=1, max_size=200))
def test_a_name_with_a_known_ending_is_never_base64(stem: str) -> None:
    path = Path("/data") / f"{stem}.jpg"
    assert sources(f"{stem}.jpg") == (ImageSource(location=str(path)),)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("A" * 100_000, "missing_file"),
        ("hello " * 1000, "missing_file"),
        (f"{TEXT[:60]}*{TEXT[60:]}" * 100, "missing_file"),
        ("data:image/png;base64,####", "unreadable"),
        (f"data:image/png,{TEXT}", "forbidden_scheme"),
        ("data:image/png;base64," + "A" * 100_000, "too_many_bytes"),
        (base64.b64encode(PICTURE + bytes(20_000)).decode(), "too_many_bytes"),
        (PICTURE + bytes(20_000), "too_many_bytes"),
        ("http://x/" + "a" * 100_000, "bad_url"),
        ("ftp://" + "a" * 100_000, "forbidden_scheme"),
        ("s3://" + "a" * 100_000, "bad_url"),
        ("s3://", "bad_url"),
        ("nul\0.png", "missing_file"),
        ("half \ud800.png", "missing_file"),
    ],
)
def test_a_cell_that_is_none_of_these_is_refused_in_a_few_words(value: object, reason: str) -> None:
    found, message = refused(value)
    assert found == reason
    assert len(message) < 300


@pytest.mark.parametrize("name", ["~backup.png", "~nobody/x.png", "~", "~root/x.png", "~~"])
def test_a_tilde_is_a_letter_like_any_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    assert sources(name) == (ImageSource(location=f"/data/{name}"),)


def test_only_a_tilde_and_a_slash_mean_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert sources("~/x.png") == (ImageSource(location="/home/somebody/x.png"),)


def test_a_name_that_is_not_utf_8_is_kept_byte_for_byte() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert sources(name) == (ImageSource(location=f"/data/{name}"),)
