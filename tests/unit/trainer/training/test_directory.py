from pathlib import Path

import pytest

from phi3k_trainer.errors import OutputError, StorageError
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.training.directory import claim, different_fields, forget_results_after, held
from tests.unit.trainer.conftest import recipe_with


def claimed(tmp_path: Path, *, with_checkpoint: bool) -> tuple[RunDirectory, Recipe]:
    directory, recipe = RunDirectory(tmp_path / "run"), recipe_with(tmp_path)
    claim(directory, recipe, resume=False)
    if with_checkpoint:
        (directory.checkpoints / "step-000001").mkdir(parents=True)
    return directory, recipe


def test_the_recipe_in_force_is_stored(tmp_path: Path) -> None:
    directory, recipe = claimed(tmp_path, with_checkpoint=False)
    assert load_recipe(directory.recipe) == recipe


def test_a_directory_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with (
        held(directory),
        pytest.raises(OutputError, match="another process is training in"),
        held(directory, patience_seconds=0),
    ):
        pass
    with held(directory, patience_seconds=0):
        pass


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"checkpoint\.directory"), held(RunDirectory(tmp_path / "file" / "run")):
        pass


def test_a_run_with_checkpoints_is_not_started_over(tmp_path: Path) -> None:
    directory, recipe = claimed(tmp_path, with_checkpoint=True)
    with pytest.raises(OutputError, match="--resume"):
        claim(directory, recipe, resume=False)
    claim(directory, recipe, resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_another_recipes_directory_is_refused_naming_what_differs(tmp_path: Path, resume: bool) -> None:
    directory, _ = claimed(tmp_path, with_checkpoint=True)
    other = recipe_with(tmp_path, "training.learning_rate=1e-5", "tuning.rank=8", "cluster.gpus=1")
    with pytest.raises(OutputError, match=r"what differs: training.learning_rate, tuning.rank\."):
        claim(directory, other, resume=resume)


def test_a_directory_where_nothing_was_learned_yet_is_taken_over(tmp_path: Path) -> None:
    directory, _ = claimed(tmp_path, with_checkpoint=False)
    (directory.path / "dataset.json").write_text("{}")
    other = recipe_with(tmp_path, "training.learning_rate=1e-5")
    claim(directory, other, resume=False)
    assert load_recipe(directory.recipe) == other
    assert not (directory.path / "dataset.json").exists()


@pytest.mark.parametrize(
    "free", ["training.loader_threads=0", "checkpoint.keep=1", "evaluation.max_samples=3", "data.cache=/elsewhere"]
)
def test_what_changes_nothing_of_what_is_learned_may_change(tmp_path: Path, free: str) -> None:
    assert different_fields(recipe_with(tmp_path), recipe_with(tmp_path, free)) == []


def test_the_claim_of_a_resumed_run_keeps_what_it_has(tmp_path: Path) -> None:
    directory, recipe = claimed(tmp_path, with_checkpoint=True)
    (directory.path / "predictions").mkdir()
    for step in (3, 12):
        directory.predictions(step).write_text("")
    claim(directory, recipe, resume=True)
    forget_results_after(directory, 10)
    assert [path.name for path in (directory.path / "predictions").iterdir()] == ["step-3.jsonl"]
