"""A run writes its export itself: the weights that were asked for, proved, whole, and only where they are missing."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from phi3k_trainer.errors import MissingInputError, OutputError
from phi3k_trainer.model.loading import load_model
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.replica.finished import earlier_end
from phi3k_trainer.trained.opening import load_trained
from phi3k_trainer.trained.proof import example, logits_of
from phi3k_trainer.training.preemption import PreemptedError
from tests import small_runs

AT_END = "export.at_end=true"
LORA = ("tuning.method=lora", "tuning.vision=frozen", "tuning.projector=frozen", "tuning.rank=4")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def exported(recipe: Path) -> Path:
    """A run of twelve steps or so, whose best evaluation by the score was its first."""
    return small_runs.run(recipe, "name=exported", AT_END, "export.score=colour/chrf")


def record_of(run: Path) -> dict:
    return json.loads((run / "export.json").read_text())


def steps_of(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in small_runs.checkpoints(run)]


def fails(recipe: Path, *overrides: str, resume: bool = False, **how: tuple[str, str, int]) -> tuple[int, str]:
    log = recipe.parent / "failure.txt"
    log.unlink(missing_ok=True)
    (code,) = small_runs.wait(small_runs.start(recipe, *overrides, resume=resume, log=log, **how))
    return code, log.read_text()


def test_the_export_computes_what_the_best_checkpoint_by_the_score_does(exported: Path) -> None:
    record = record_of(exported)
    scores = {
        line["step"]: line["eval/colour/chrf"] for line in small_runs.metrics(exported) if "eval/colour/chrf" in line
    }
    best = max(scores, key=lambda step: scores[step])
    assert len(scores) > 2
    assert (record["step"], record["weights"], record["score"]) == (best, "best", "colour/chrf")
    trained = load_trained(exported / "checkpoints" / f"step-{best:06d}")
    inputs = example(trained.processor)
    written = load_model(exported / "export", dtype=torch.float32)
    torch.testing.assert_close(logits_of(written, inputs), logits_of(trained.model, inputs))


def test_the_record_has_every_file(exported: Path) -> None:
    files = record_of(exported)["files"]
    assert {name: file["num_bytes"] for name, file in files.items()} == {
        path.name: path.stat().st_size for path in (exported / "export").iterdir()
    }


def test_scoring_on_the_way_changes_neither_the_training_nor_the_last_evaluation(recipe: Path, exported: Path) -> None:
    without = small_runs.run(recipe, "name=without")
    losses = [
        [line.get("train/loss", line.get("eval/loss")) for line in small_runs.metrics(run)]
        for run in (without, exported)
    ]
    assert losses[0] == losses[1]
    evaluations = [json.loads((run / "evaluation.json").read_text()) | {"run": ""} for run in (without, exported)]
    assert evaluations[0] == evaluations[1]
    assert not (without / "export").exists()


def test_a_finished_run_that_lacks_its_export_writes_it_and_nothing_else(recipe: Path, exported: Path) -> None:
    settings = ("name=exported", AT_END, "export.score=colour/chrf")
    in_force = load_recipe(recipe, settings)
    assert earlier_end(in_force) is not None
    weights = (exported / "export" / "model.safetensors").read_bytes()
    metrics = small_runs.metrics(exported)
    shutil.rmtree(exported / "export")
    assert earlier_end(in_force) is None
    small_runs.run(recipe, *settings, resume=True)
    assert (exported / "export" / "model.safetensors").read_bytes() == weights
    assert small_runs.metrics(exported) == metrics
    written = (exported / "export" / "config.json").stat().st_mtime_ns
    small_runs.run(recipe, *settings, resume=True)
    assert (exported / "export" / "config.json").stat().st_mtime_ns == written


def test_two_processes_leave_one_export_and_another_form_replaces_it(recipe: Path) -> None:
    settings = ("name=two", AT_END, *LORA, "export.weights=last", "training.max_steps=3", "training.parallel=fsdp")
    run = small_runs.run(recipe, *settings, num_processes=2)
    assert (record_of(run)["step"], record_of(run)["form"]) == (3, "merged")
    small_runs.run(recipe, *settings, "export.form=adapter", resume=True)
    assert record_of(run)["form"] == "adapter"
    assert {path.name for path in (run / "export").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert not list(run.glob(".export*"))


def test_what_somebody_else_put_there_is_refused_before_anything_is_trained(recipe: Path) -> None:
    theirs = recipe.parent / "runs" / "taken" / "export"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("chapter one")
    code, said = fails(recipe, "name=taken", AT_END)
    assert code == OutputError.exit_code
    assert "move it away, or set export.at_end to false" in said
    assert not (theirs.parent / "checkpoints").exists()
    assert [path.name for path in theirs.iterdir()] == ["thesis.txt"]


def test_a_run_that_is_stopped_while_it_exports_leaves_no_half_and_exports_when_resumed(recipe: Path) -> None:
    settings = ("name=stopped", AT_END, "training.max_steps=3", "evaluation.every_steps=null")
    code, said = fails(recipe, *settings, terminate_in=("phi3k_trainer.trained.writing", "write_tensors", 1))
    run = small_runs.run_path(recipe, *settings)
    assert code == PreemptedError.exit_code
    assert "nothing left to save" in said
    assert not [path for path in run.iterdir() if "export" in path.name]
    small_runs.run(recipe, *settings, resume=True)
    assert record_of(run)["step"] == 3


def test_a_score_that_no_evaluation_has_a_value_for_is_named(recipe: Path) -> None:
    settings = ("name=never", AT_END, "export.score=size/mae", "training.max_steps=3", "evaluation.every_steps=null")
    code, said = fails(recipe, *settings)
    assert code == MissingInputError.exit_code
    assert "has a value for size/mae" in said
    small_runs.run(recipe, *settings, "export.weights=last", resume=True)
    assert record_of(small_runs.run_path(recipe, *settings))["step"] == 3


def test_a_score_of_another_kind_of_field_is_refused_before_the_first_step(recipe: Path) -> None:
    code, said = fails(recipe, "name=kind", "export.score=size/chrf")
    assert code == 78
    assert "use one of exact_match, parsed, colour/parsed" in said
    assert not (recipe.parent / "runs" / "kind" / "metrics.jsonl").exists()
