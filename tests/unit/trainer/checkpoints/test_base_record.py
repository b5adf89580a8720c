"""The model that a run began with: what of it is recorded, and which change is noticed."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from phi3k_trainer.checkpoints.base_record import BaseRecord, check_base, find_base, read_base_record, record_base
from phi3k_trainer.errors import DataError, MissingInputError
from phi3k_trainer.run_directory import RunDirectory
from tests.unit.trainer.conftest import recipe_with

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "base"))


def test_the_same_files_are_the_same_model_wherever_they_lie(base: Path, copied: Path) -> None:
    recorded, found = record_base(recipe_with(base), base), record_base(recipe_with(copied), copied)
    check_base(recorded, found, Path("runs/unit"), copied)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_file_is_named_with_the_way_out(base: Path, copied: Path, name: str) -> None:
    recorded = record_base(recipe_with(copied), copied)
    with (copied / name).open("r+b") as file:
        file.seek(-2, 2)
        file.write(b" ")
    found = record_base(recipe_with(copied), copied)
    with pytest.raises(DataError, match=rf"runs/unit began with: {name} changed\..*Put these files back, or start"):
        check_base(recorded, found, Path("runs/unit"), copied)


def test_a_base_without_its_tokenizer_is_named(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    with pytest.raises(MissingInputError, match=r"tokenizer\.json can't be used: No such file.*model\.base"):
        record_base(recipe_with(copied), copied)


def test_a_record_that_holds_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"base": "x", "commit": null, "files": {"a": 1}}')
    with pytest.raises(MissingInputError, match=r"base\.json can't be used: files\.a"):
        read_base_record(tmp_path / "base.json", "")


def test_a_run_stays_with_the_commit_it_began_with_when_its_repository_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--owner--model"
    for commit in (OLD, NEW):
        (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    recipe, run = recipe_with(Path("owner/model")), RunDirectory(tmp_path / "run")
    assert find_base(recipe, run, None).name == NEW
    assert find_base(recipe, run, BaseRecord("owner/model", OLD, {})).name == OLD
