"""A finished job that is made again ends at once: nothing is loaded, no process is started."""

from pathlib import Path

import pytest

from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.recipe.ready import ready_recipe
from phi3k_trainer.replica.entrypoint import attempt
from phi3k_trainer.replica.finished import earlier_end, record_end


def recipe(tmp_path: Path, *overrides: str) -> Recipe:
    return load_recipe(ready_recipe("demo"), [f"checkpoint.directory={tmp_path}", *overrides])


@pytest.fixture
def finished(tmp_path: Path) -> Recipe:
    """The recipe of a run that has ended."""
    own = recipe(tmp_path)
    checkpoint = own.run_path / "checkpoints" / "step-000400"
    checkpoint.mkdir(parents=True)
    record_end(own.run_path, own, 400, checkpoint)
    return own


def test_a_finished_run_starts_nothing_when_it_is_made_again(finished: Recipe) -> None:
    outcome = attempt(finished, ["/does/not/exist"])
    assert (outcome.exit_code, outcome.step) == (0, 400)
    assert outcome.checkpoint == str(finished.run_path / "checkpoints" / "step-000400")


def test_a_recipe_that_has_changed_is_not_finished(finished: Recipe, tmp_path: Path) -> None:
    assert earlier_end(recipe(tmp_path, "evaluation.max_new_tokens=65")) is None


def test_a_run_whose_last_checkpoint_is_gone_is_not_finished(finished: Recipe) -> None:
    (finished.run_path / "checkpoints" / "step-000400").rmdir()
    assert earlier_end(finished) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}'])
def test_a_torn_record_says_nothing(finished: Recipe, text: str) -> None:
    (finished.run_path / "finished.json").write_text(text)
    assert earlier_end(finished) is None
