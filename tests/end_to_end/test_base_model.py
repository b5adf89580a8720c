"""The model that a run began with is part of it: other weights in its place are refused by all that read them."""

import json
import shutil
from pathlib import Path

import pytest

from phi3k_trainer.errors import DataError
from phi3k_trainer.model.tiny import build_tiny
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.trained.asking import evaluate_run, predict
from phi3k_trainer.trained.export import export_run
from tests import small_runs

LORA = ("tuning.method=lora", "tuning.vision=frozen", "tuning.projector=lora")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A recipe and the settings of a run from a directory, stopped at step 4, whose base then got other weights."""
    recipe = small_runs.write_recipe(tmp_path_factory.mktemp("swapped"))
    tiny = small_runs.run(recipe, "name=tiny", "training.max_steps=1") / "base"
    base = Path(shutil.copytree(tiny, recipe.parent / "model"))
    settings = (*LORA, f"model.base={base}")
    terminate = ("phi3k_trainer.training.loop", "count_step", 4)
    assert small_runs.wait(small_runs.start(recipe, *settings, terminate_in=terminate)) == [143]
    section = load_recipe(recipe).model.tiny
    texts = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    other = build_tiny(section, texts, 8, recipe.parent / "other")
    shutil.copyfile(other / "model.safetensors", base / "model.safetensors")
    return recipe, settings


def test_a_resumed_run_refuses_another_base(stopped: tuple[Path, tuple[str, ...]]) -> None:
    recipe, settings = stopped
    log = recipe.parent / "log.txt"
    codes = small_runs.wait(small_runs.start(recipe, *settings, resume=True, log=log))
    assert codes == [DataError.exit_code]
    assert "model.safetensors changed" in log.read_text()


def test_what_reads_the_trained_weights_refuses_another_base(
    stopped: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    recipe, settings = stopped
    run = small_runs.run_path(recipe, *settings)
    for use in (
        lambda: evaluate_run(run),
        lambda: predict(run, [recipe.parent / "1.png"]),
        lambda: export_run(run, tmp_path / "model"),
        lambda: export_run(run, tmp_path / "adapters", form="adapter"),
    ):
        with pytest.raises(DataError, match=r"model\.safetensors changed"):
            use()
    assert not list(tmp_path.iterdir())
