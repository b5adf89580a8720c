"""Data and models in an object store train as the same files on a disk do; what fails there has a name and a remedy."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tools.cluster.certificates import create_authority

from phi3k.main import main
from phi3k_trainer.data.dataset import Dataset, prepare_dataset
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, UnavailableError
from phi3k_trainer.model.loading import resolve_base
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.recipe.model import TinySection
from tests.unit.trainer.data.making import recipe, write_jsonl, write_picture, write_products

from .server import BrokenLine, S3Server, s3_server

MANY = int(os.environ.get("PHI3K_TEST_OBJECTS", "300"))
"""Small pictures in a bucket; the recorded run had 10,000."""


def prepared(cache: Path, path: str, **data: Any) -> Dataset:
    return prepare_dataset(recipe(cache, **{"source": "jsonl", "path": path, **data}), None)


def test_a_table_and_its_pictures_are_the_same_data_as_on_a_disk(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    table = write_products(tmp_path / "shop", 20)
    s3.put(tmp_path / "shop", f"{bucket}/shop")
    there = prepared(tmp_path / "cache", f"{bucket}/shop/{table.name}")
    here = prepared(tmp_path / "other", str(table))
    assert (there.digest, len(there.train)) == (here.digest, len(here.train))
    assert not there.quarantine.rejections


@pytest.mark.parametrize("address", ["{bucket}/shops", "{bucket}/shops/*/*.jsonl"])
def test_the_tables_below_a_folder_or_a_pattern_have_their_pictures_beside_them(
    tmp_path: Path, s3: S3Server, bucket: str, address: str
) -> None:
    for city in ("oslo", "rome"):
        write_products(tmp_path / "shops" / city, 6)
    s3.put(tmp_path / "shops", f"{bucket}/shops")
    there = prepared(tmp_path / "cache", address.format(bucket=bucket))
    assert there.digest == prepared(tmp_path / "other", str(tmp_path / "shops")).digest


def test_a_folder_of_pictures_is_read_from_a_bucket(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    for label in ("hat", "scarf"):
        for number in range(4):
            write_picture(tmp_path / "pictures" / label / f"{label}-{number}.png", number * 20 + len(label))
    s3.put(tmp_path / "pictures", f"{bucket}/pictures")
    options = {"source": "imagefolder", "answer": "It is a {label}."}
    there = prepared(tmp_path / "cache", f"{bucket}/pictures", **options)
    assert there.digest == prepared(tmp_path / "other", str(tmp_path / "pictures"), **options).digest


def test_a_table_here_may_name_pictures_there(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    write_picture(tmp_path / "pictures" / "a.png", 1)
    s3.put(tmp_path / "pictures", f"{bucket}/pictures")
    rows = [
        {"sku": "full", "image": f"{bucket}/pictures/a.png", "title": "A", "price": 1.0},
        {"sku": "relative", "image": "a.png", "title": "B", "price": 2.0},
        {"sku": "missing", "image": f"{bucket}/pictures/b.png", "title": "C", "price": 3.0},
    ]
    table = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = prepared(tmp_path / "cache", str(table), image_root=f"{bucket}/pictures", key="sku", error_budget=0.5)
    assert sorted(example.key for example in found.train) == ["full", "relative"]
    (rejection,) = found.quarantine.rejections
    assert rejection.reason == "missing_object"
    assert f"{bucket}/pictures/b.png is not there" in rejection.detail


def test_only_what_has_changed_is_brought_again_and_what_is_gone_there_goes_here(
    tmp_path: Path, s3: S3Server, bucket: str
) -> None:
    for number in range(3):
        write_products(tmp_path / "shops" / f"{number}", 3)
    s3.put(tmp_path / "shops", f"{bucket}/shops")
    cache = tmp_path / "cache"
    prepared(cache, f"{bucket}/shops")
    (folder,) = (cache / "mirror").iterdir()
    before = {path: path.stat().st_ino for path in (folder / "files").rglob("*.jsonl")}
    write_jsonl(tmp_path / "shops" / "1" / "products.jsonl", [])
    changed = next(path for path in before if path.parent.name == "1")
    s3.write(f"{bucket}/shops/1/{changed.name}", changed.read_bytes() + b"\n")
    gone = next(path for path in before if path.parent.name == "2")
    s3.remove(f"{bucket}/shops/2/{gone.name}")
    prepared(cache, f"{bucket}/shops")
    after = {path: path.stat().st_ino for path in (folder / "files").rglob("*.jsonl")}
    assert {path for path in before if after.get(path) != before[path]} == {changed, gone}
    assert gone not in after


def test_a_name_that_nothing_has_is_missing_input(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(MissingInputError, match=r"rows\.jsonl is not there"):
        prepared(tmp_path, f"{bucket}/rows.jsonl")


def test_a_bucket_that_is_not_there_is_missing_input(tmp_path: Path, clients: None) -> None:
    with pytest.raises(MissingInputError, match="s3://no-such-bucket/x is not there"):
        prepared(tmp_path, "s3://no-such-bucket/x")


def test_wrong_credentials_name_where_they_come_from(
    tmp_path: Path, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.write(f"{bucket}/rows.jsonl", b"{}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(PermissionDeniedError, match="AWS_SECRET_ACCESS_KEY"):
        prepared(tmp_path, f"{bucket}/rows.jsonl")


def test_without_credentials_nothing_is_read(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PermissionDeniedError, match="give credentials of S3"):
        prepared(tmp_path, f"{bucket}/rows.jsonl")


def test_many_small_pictures_and_a_large_file(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    """Several blocks of a table of 100 MB, and a picture over the cap, which is set aside."""
    content = [write_picture(tmp_path / f"{number}.png", number).read_bytes() for number in range(5)]
    folder = s3.directory / bucket.removeprefix("s3://") / "pictures"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number}.png").write_bytes(content[number % 5])
    (folder / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000_000))
    names = [*(f"{number}.png" for number in range(MANY)), "large.png"]
    padding = "x" * (100_000_000 // MANY)
    lines = [
        json.dumps({"sku": name, "image": f"pictures/{name}", "title": name, "price": 1.0, "unused": padding})
        for name in names
    ]
    s3.write(f"{bucket}/rows.jsonl", "\n".join(lines).encode())
    found = prepared(tmp_path / "cache", f"{bucket}/rows.jsonl")
    assert len(found.train) == MANY
    assert [rejection.reason for rejection in found.quarantine.rejections] == ["too_many_bytes"]


def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one request at a time, and answers the others with 503 SlowDown."""
    table = write_products(tmp_path / "shop", 40)
    with s3_server(tmp_path / "buckets", "--max-requests", "1") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = server.bucket("busy")
        server.put(tmp_path / "shop", f"{bucket}/shop")
        found = prepared(tmp_path / "cache", f"{bucket}/shop/{table.name}")
        assert "| 503 |" in server.log.read_text()
    assert not found.quarantine.rejections


def test_connections_that_break_cost_nothing(
    tmp_path: Path, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_products(tmp_path / "shop", 12)
    s3.put(tmp_path / "shop", f"{bucket}/shop")
    line = BrokenLine(int(s3.endpoint.rpartition(":")[2]), cuts=8, after_bytes=700)
    with line.open() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = prepared(tmp_path / "cache", f"{bucket}/shop/{table.name}")
    assert line.made == 8
    assert found.digest == prepared(tmp_path / "other", str(table)).digest


def test_a_private_authority_is_trusted_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_products(tmp_path / "shop", 4)
    authority = create_authority(tmp_path / "authority")
    pair = authority.issue("s3", names=["IP:127.0.0.1"])
    options = ("--cert", str(pair.certificate), "--key", str(pair.key))
    with s3_server(tmp_path / "buckets", *options, scheme="https") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UnavailableError, match="AWS_CA_BUNDLE"):
            prepared(tmp_path / "cache", f"s3://shop/{table.name}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.pair.certificate))
        bucket = server.bucket("shop")
        server.put(tmp_path / "shop", bucket)
        assert len(prepared(tmp_path / "cache", f"{bucket}/{table.name}").train) == 4


def test_a_model_is_loaded_from_a_bucket(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    build_tiny(TinySection(), ["some text", "some more"], 0, tmp_path / "base")
    for name in ("tokenizer.model", "chat_template.jinja"):
        (tmp_path / "base" / name).write_bytes(b"for other programs")
    s3.put(tmp_path / "base", f"{bucket}/models/base")
    s3.write(f"{bucket}/models/base/modeling_phi3_v.py", b"raise SystemExit")
    copied = resolve_base(f"{bucket}/models/base", None, str(tmp_path / "cache"))
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()
    }


def test_a_recipe_with_an_address_is_checked_and_trained(
    tmp_path: Path, s3: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_products(tmp_path / "shop", 30)
    s3.put(tmp_path / "shop", bucket)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""apiVersion: phi3k/v1
name: from-s3
model: {{base: tiny, dtype: float32, num_crops: 1}}
data: {{source: jsonl, path: "{bucket}/{table.name}", answer: "Title: {{title}}", cache: "{tmp_path / "cache"}"}}
tuning: {{method: full, vision: full, projector: full}}
training: {{max_steps: 1, tokens_per_step: 256}}
evaluation: {{max_samples: 2, max_new_tokens: 2}}
checkpoint: {{directory: "{tmp_path / "runs"}"}}
tracking: {{wandb: {{mode: "off"}}}}
"""
    )
    assert main(["data", "check", str(path)]) == 0, capsys.readouterr().err
    assert main(["train", str(path)]) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "from-s3" / "checkpoints").is_dir()
