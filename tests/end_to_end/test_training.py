"""`train` from a recipe to its result, and what it says when something is wrong with what it was given."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from phi3k_trainer.errors import DataError, OutputError, RecipeError, TrainingError
from phi3k_trainer.planning import plan, shape_of
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.run_directory import RunDirectory
from phi3k_trainer.trained.opening import load_trained
from phi3k_trainer.training.directory import held
from tests import small_runs


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def finished(recipe: Path) -> Path:
    return small_runs.run(recipe, "name=finished")


def fails(recipe: Path, *overrides: str, resume: bool = False) -> tuple[int, str]:
    """Exit code and message of a run that can't be."""
    log = recipe.parent / "failure.txt"
    log.unlink(missing_ok=True)
    (code,) = small_runs.wait(small_runs.start(recipe, *overrides, resume=resume, log=log))
    return code, log.read_text()


def test_a_run_leaves_recipe_metrics_evaluation_predictions_report_and_checkpoints(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "recipe.yaml",
        "metrics.jsonl",
        "evaluation.json",
        "report.html",
        "environment.json",
        "checkpoints",
    }
    evaluation = json.loads((finished / "evaluation.json").read_text())
    assert set(evaluation["fields"]) == set(evaluation["blind"]) == {"colour", "size"}
    losses = [line["train/loss"] for line in small_runs.metrics(finished) if "train/loss" in line]
    assert losses[-1] < 0.8 * losses[0]


def test_the_best_and_the_newest_checkpoints_are_kept(finished: Path) -> None:
    state = json.loads((small_runs.checkpoints(finished)[-1] / "state.json").read_text())
    evaluations = {line["step"]: line["eval/loss"] for line in small_runs.metrics(finished) if "eval/loss" in line}
    best = min(evaluations, key=lambda step: evaluations[step])
    assert (state["best_step"], state["best_loss"]) == (best, evaluations[best])
    kept = [int(path.name.removeprefix("step-")) for path in small_runs.checkpoints(finished)]
    assert best in kept
    assert len(set(kept) - {best}) <= 2


def test_a_run_waits_while_another_process_holds_its_directory(recipe: Path) -> None:
    directory = RunDirectory(recipe.parent / "runs" / "shared")
    with held(directory):
        processes = small_runs.start(recipe, "name=shared", "training.max_steps=1")
        time.sleep(3)
        assert not directory.recipe.exists()
    assert small_runs.wait(processes) == [0]
    assert directory.recipe.exists()


def test_a_checkpoint_is_as_large_as_planned(recipe: Path, finished: Path) -> None:
    in_force = load_recipe(recipe)
    planned = plan(in_force, shape_of(in_force)).checkpoint.size_bytes
    (newest,) = small_runs.checkpoints(finished)[-1:]
    stored = sum(path.stat().st_size for path in newest.glob("*.safetensors"))
    # The files also have headers, and a vocabulary learned from few texts stays below the size asked for.
    assert stored == pytest.approx(planned, rel=0.03)


def test_the_trained_model_is_opened_with_its_recipe_and_processor(finished: Path) -> None:
    trained = load_trained(finished)
    assert trained.checkpoint == small_runs.checkpoints(finished)[-1]
    assert trained.checkpoint.name == f"step-{trained.step:06d}"
    assert trained.recipe.name == "finished"
    ids = trained.processor(text="<|user|>\nWhich colour?<|end|>\n<|assistant|>\n", return_tensors="pt")["input_ids"]
    assert torch.isfinite(trained.model(ids).logits).all()


def test_resuming_a_finished_run_changes_nothing(recipe: Path, finished: Path) -> None:
    before = small_runs.metrics(finished), (finished / "evaluation.json").read_text()
    small_runs.run(recipe, "name=finished", resume=True)
    assert (small_runs.metrics(finished), (finished / "evaluation.json").read_text()) == before


def test_threads_that_load_ahead_change_nothing(recipe: Path, finished: Path) -> None:
    without = small_runs.run(recipe, "name=no-threads", "training.loader_threads=0")
    assert small_runs.metrics(without) == small_runs.metrics(finished)


@pytest.mark.parametrize(
    ("method", "num_processes"), [("full", 1), ("lora", 1), ("dora", 1), ("qlora", 1), ("lora", 2)]
)
def test_evaluations_in_between_change_nothing_of_the_training(recipe: Path, method: str, num_processes: int) -> None:
    parts = ("tuning.vision=full", "tuning.projector=full") if method == "full" else ("tuning.vision=lora",)
    settings = (
        f"tuning.method={method}", *parts, "tuning.dropout=0.2", "tuning.rank=4", "model.tiny.hidden_size=64",
        "training.max_steps=4", "evaluation.blind=false", "tracking.every_steps=1",
        f"training.parallel={'fsdp' if num_processes > 1 else 'ddp'}",
    )  # fmt: skip

    def losses(name: str, every_steps: str) -> list[tuple[float, float]]:
        evaluates = f"evaluation.every_steps={every_steps}"
        directory = small_runs.run(recipe, f"name={name}", *settings, evaluates, num_processes=num_processes)
        lines = small_runs.metrics(directory)
        return [(line["train/loss"], line["train/grad_norm"]) for line in lines if "train/loss" in line]

    evaluated = losses(f"{method}-{num_processes}-evaluated", "1")
    assert len(evaluated) == 4
    assert evaluated == losses(f"{method}-{num_processes}-at-the-end", "null")


def test_early_stopping_ends_a_run_that_gets_worse(recipe: Path) -> None:
    settings = ("training.learning_rate=0.5", "training.vision_learning_rate=0.5", "training.epochs=40")
    watched = (
        "evaluation.every_steps=2",
        "training.early_stop_patience=2",
        "evaluation.generate_during_training=false",
    )
    directory = small_runs.run(recipe, "name=stops-early", *settings, *watched)
    losses = [line["eval/loss"] for line in small_runs.metrics(directory) if "eval/loss" in line]
    assert min(losses) < min(losses[-2:])
    assert min(losses[:-2]) == losses[-3]
    assert (directory / "evaluation.json").exists()


def test_ten_steps_without_a_finite_loss_stop_the_run(recipe: Path) -> None:
    wild = ("training.learning_rate=1e30", "training.vision_learning_rate=1e30", "training.epochs=9")
    code, said = fails(recipe, "name=wild", *wild, "evaluation.every_steps=null")
    assert code == TrainingError.exit_code
    assert said.count("skipped: the loss is nan") == 9
    assert "the 10th step in a row" in said


def test_weights_that_break_before_an_evaluation_stop_the_run_and_are_not_saved(recipe: Path) -> None:
    breaking = ("name=breaking", "training.learning_rate=1e8", "training.warmup_fraction=0", "evaluation.every_steps=1")
    code, said = fails(recipe, *breaking)
    assert code == TrainingError.exit_code
    assert "step 1: the loss on the held-out rows is nan. Lower training.learning_rate" in said
    assert small_runs.checkpoints(small_runs.run_path(recipe, *breaking)) == []


def test_steps_that_are_skipped_save_nothing(recipe: Path) -> None:
    wild = ("training.learning_rate=1e30", "training.vision_learning_rate=1e30", "training.epochs=9")
    fails(recipe, "name=unsaved", *wild, "evaluation.every_steps=null", "checkpoint.every_steps=1", "checkpoint.keep=2")
    steps = [path.name for path in small_runs.checkpoints(small_runs.run_path(recipe, "name=unsaved"))]
    assert steps == ["step-000001"], "the nine skipped steps have pushed nothing out"


def test_a_run_is_not_started_over_its_own_checkpoints(recipe: Path, finished: Path) -> None:
    code, said = fails(recipe, f"name={finished.name}")
    assert code == OutputError.exit_code
    assert "continue with --resume" in said


def test_a_run_directory_of_another_recipe_is_refused(recipe: Path, finished: Path) -> None:
    code, said = fails(recipe, f"name={finished.name}", "training.learning_rate=1e-4", resume=True)
    assert code == OutputError.exit_code
    assert "what differs: training.learning_rate." in said


def test_samples_longer_than_the_context_go_to_quarantine_within_the_budget(recipe: Path) -> None:
    code, said = fails(recipe, "name=too-long", "data.max_tokens=25")
    assert code == DataError.exit_code
    assert "too_long" in said
    assert "data.error_budget" in said
    listed = (recipe.parent / "runs" / "too-long" / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in listed} == {"too_long"}


def test_a_model_that_memory_cannot_hold_is_refused_with_the_fields_to_change(recipe: Path, finished: Path) -> None:
    base = recipe.parent / "huge"
    shutil.copytree(finished / "base", base, ignore=shutil.ignore_patterns("tiny.json"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10_000_000}))
    code, message = fails(recipe, "name=huge", f"model.base={base}")
    assert code == RecipeError.exit_code
    assert "GiB on each device" in message
    assert "weights" in message
