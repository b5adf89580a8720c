"""A directory in a store is whole or has no manifest, however often its upload was cut off."""

from pathlib import Path

import pytest

from phi3k.main import main
from phi3k_trainer.errors import OutputError, PermissionDeniedError
from phi3k_trainer.progress import Progress
from phi3k_trainer.remote.folders import RemoteFolder
from phi3k_trainer.remote.uploading import MANIFEST, described, read_manifest, upload

from .server import S3Server


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A directory of three files, one in a folder."""
    directory = tmp_path / "export"
    (directory / "code").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "code/processing.py"):
        (directory / name).write_bytes(name.encode() * 1000)
    return directory


def stop_after(number: int) -> object:
    def stop(progress: Progress) -> None:
        if progress.done == number:
            raise KeyboardInterrupt

    return stop


def objects(address: str) -> list[str]:
    return [file.name for file in RemoteFolder(address).list_files_or_none()]


def test_what_arrives_is_what_the_manifest_names(tmp_path: Path, export: Path, bucket: str) -> None:
    assert upload(export, f"{bucket}/model", tmp_path / "record") == 3
    assert objects(f"{bucket}/model") == ["code/processing.py", "config.json", "model.safetensors", MANIFEST]
    assert read_manifest(RemoteFolder(f"{bucket}/model")) == described(export)


def test_a_second_time_nothing_is_written(tmp_path: Path, export: Path, bucket: str) -> None:
    upload(export, f"{bucket}/model", tmp_path / "record")
    assert upload(export, f"{bucket}/model", tmp_path / "another") == 0


def test_an_upload_that_was_cut_off_has_no_manifest_and_continues(tmp_path: Path, export: Path, bucket: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        upload(export, f"{bucket}/model", tmp_path / "record", stop_after(2))
    assert MANIFEST not in objects(f"{bucket}/model")
    assert upload(export, f"{bucket}/model", tmp_path / "record") == 1
    assert read_manifest(RemoteFolder(f"{bucket}/model")) == described(export)


def test_a_new_export_takes_the_place_of_the_old_one(tmp_path: Path, export: Path, bucket: str) -> None:
    upload(export, f"{bucket}/model", tmp_path / "record")
    (export / "config.json").write_text("{}")
    (export / "code" / "processing.py").unlink()
    assert upload(export, f"{bucket}/model", tmp_path / "record") == 1
    assert objects(f"{bucket}/model") == ["config.json", "model.safetensors", MANIFEST]


def test_what_somebody_else_has_put_there_stays(tmp_path: Path, export: Path, s3: S3Server, bucket: str) -> None:
    s3.write(f"{bucket}/model/notes.txt", b"mine")
    with pytest.raises(OutputError, match=r"holds something else already, such as notes\.txt"):
        upload(export, f"{bucket}/model", tmp_path / "record")
    assert objects(f"{bucket}/model") == ["notes.txt"]


def test_the_command_says_what_it_wrote(export: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upload", str(export), f"{bucket}/model"]) == 0
    assert "3 files written now" in capsys.readouterr().out
    assert main(["upload", str(export), f"{bucket}/model", "--output", "json"]) == 0
    assert '"written": 0' in capsys.readouterr().out


@pytest.mark.parametrize("address", ["/a/path", "https://host/x", "s3://bucket/*"])
def test_only_a_folder_of_a_store_is_written_to(export: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upload", str(export), address]) == 64
    assert "should be a folder of an object store" in capsys.readouterr().err


def test_a_store_that_refuses_says_what_to_give(
    tmp_path: Path, export: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(PermissionDeniedError, match="may not be read or written"):
        upload(export, f"{bucket}/model", tmp_path / "record")
