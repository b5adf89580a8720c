"""Exports of real (very short) runs: what is written computes what was trained, and stands alone."""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoProcessor

from phi3k_trainer.checkpoints.files import list_checkpoints
from phi3k_trainer.checkpoints.keeper import read_state
from phi3k_trainer.checkpoints.tensor_file import FileDigest
from phi3k_trainer.errors import MissingInputError, OutputError, TrainingError, UsageError
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.model.loading import load_model, published_keys
from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.trained import export
from phi3k_trainer.trained.export import export_run
from phi3k_trainer.trained.opening import load_trained
from phi3k_trainer.trained.proof import check_difference, difference, example, logits_of
from phi3k_trainer.trained.writing import write_model
from phi3k_trainer.training.run import train

RECIPE = """
apiVersion: phi3k/v1
name: small
model:
  base: tiny
  num_crops: 2
  tiny: {{hidden_size: 32, num_layers: 2, vision_hidden_size: 32, vision_num_layers: 2, patch_size: 84,
          vocabulary_size: 320}}
data: {{source: sample, cache: {0}/cache, answer: "Product: {{title}}", sample: {{rows: 24}}}}
training: {{max_steps: 3, epochs: 9, tokens_per_step: 300, tokens_per_batch: 300, learning_rate: 3e-2}}
evaluation: {{max_samples: 1, max_new_tokens: 2, blind: false}}
checkpoint: {{directory: {0}/runs}}
tracking: {{wandb: {{mode: "off"}}}}
"""

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train with these fields set, once each, and give the run's directory."""
    root, done = tmp_path_factory.mktemp("trained"), dict[tuple[str, ...], Path]()

    def run(*overrides: str) -> Path:
        if overrides not in done:
            changes = (f"name=run{len(done)}", *overrides)
            done[overrides] = train(
                parse_recipe(RECIPE.format(root), overrides=changes), console=Console(quiet=True)
            ).directory.path
        return done[overrides]

    return run


FLOAT32 = "model.dtype=float32"
LORA = ("tuning.method=lora", "tuning.vision=lora", "tuning.projector=lora", FLOAT32)
LANGUAGE_LORA = ("tuning.method=lora", FLOAT32)
FULL = ("tuning.method=full", "tuning.projector=full", FLOAT32)


def trained_logits(run: Path) -> tuple[dict[str, Tensor], Tensor]:
    trained = load_trained(run)
    inputs = example(trained.processor)
    return inputs, logits_of(trained.model, inputs)


@pytest.mark.parametrize("tuning", [LORA, FULL, ("tuning.method=dora", FLOAT32)], ids=["lora", "full", "dora"])
def test_an_exported_model_computes_what_was_trained(run: Run, tuning: tuple[str, ...], tmp_path: Path) -> None:
    inputs, learned = trained_logits(run(*tuning))
    exported = export_run(run(*tuning), tmp_path / "model")
    logits = logits_of(load_model(exported.path, dtype=torch.float32), inputs)
    torch.testing.assert_close(logits, learned, atol=1e-4, rtol=1e-4)
    base = logits_of(load_model(run(*tuning) / "base", dtype=torch.float32), inputs)
    assert difference(base, learned) > 1e-3, "training changed nothing, so the comparison proves nothing"


def test_an_export_in_bfloat16_says_how_much_rounding_costs(run: Run, tmp_path: Path) -> None:
    exported = export_run(run("tuning.method=lora", "model.dtype=bfloat16"), tmp_path / "model")
    assert 0 < exported.merge_difference < 0.05
    assert exported.reload_difference == 0
    stored = load_file(exported.path / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}


def test_an_exported_model_has_the_published_layout_and_no_trace_of_adapters(run: Run, tmp_path: Path) -> None:
    directory = export_run(run(*LORA), tmp_path / "model").path
    model = load_model(directory, dtype=torch.float32)
    assert load_file(directory / "model.safetensors").keys() == published_keys(model.config).keys()
    files = {path.name for path in directory.iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"} <= files
    assert not any("adapter" in name for name in files)
    assert "vision_config" in json.loads((directory / "config.json").read_text())


def test_an_exported_model_has_the_tokenizer_files_of_its_base_byte_for_byte(run: Run, tmp_path: Path) -> None:
    directory = export_run(run(*LORA), tmp_path / "model").path
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (directory / name).read_bytes() == (run(*LORA) / "base" / name).read_bytes()


def test_an_export_of_a_tiny_model_says_that_only_phi3k_loads_it(run: Run, tmp_path: Path) -> None:
    exported = export_run(run(*LORA), tmp_path / "model")
    assert "vision tower" in exported.only_phi3k_because
    assert not any("auto_map" in path.read_text() for path in exported.path.glob("*.json"))


def test_the_weights_are_readable_for_whom_the_umask_lets_read(run: Run, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        directory = export_run(run(*LORA), tmp_path / "model").path
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory / "model.safetensors").stat().st_mode) == 0o644


def test_an_exported_model_is_used_through_transformers_alone(run: Run, tmp_path: Path) -> None:
    directory = export_run(run(*LORA), tmp_path / "model").path
    processor, model = AutoProcessor.from_pretrained(directory), AutoModelForCausalLM.from_pretrained(directory)
    inputs = example(processor)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] > inputs["input_ids"].shape[1]


def test_an_exported_model_is_where_the_next_run_starts(run: Run, tmp_path: Path) -> None:
    directory = export_run(run(*LORA), tmp_path / "model").path
    again = run(f"model.base={directory}", *LANGUAGE_LORA)
    assert load_trained(again).base == directory


def test_exported_adapters_are_read_by_peft(run: Run, tmp_path: Path) -> None:
    inputs, learned = trained_logits(run(*LORA))
    exported = export_run(run(*LORA), tmp_path / "adapters", form="adapter")
    assert {path.name for path in exported.path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    base = load_model(run(*LORA) / "base", dtype=torch.float32)
    torch.testing.assert_close(logits_of(PeftModel.from_pretrained(base, exported.path).eval(), inputs), learned)


def test_a_run_without_adapters_has_none_to_export(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no adapters"):
        export_run(run(*FULL), tmp_path / "adapters", form="adapter")


def test_adapters_are_not_exported_without_the_weights_they_were_trained_with(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be lost"):
        export_run(run("tuning.method=lora", "tuning.projector=full", FLOAT32), tmp_path / "adapters", form="adapter")
    assert not list(tmp_path.iterdir())


def test_a_destination_that_holds_something_is_not_touched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(OutputError, match="is taken"):
        export_run(run(*LORA), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_lies_beside_the_destination_is_neither_written_to_nor_removed(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "model.safetensors").write_text("another model")
    (tmp_path / "linked.unfinished").symlink_to(victim)
    (tmp_path / "own.unfinished").mkdir()
    (tmp_path / "own.unfinished" / "thesis.txt").write_text("chapter one")
    for name in ("linked", "own"):
        directory = export_run(run(*LORA), tmp_path / name).path
        assert not directory.is_symlink()
    assert [path.name for path in victim.iterdir()] == ["model.safetensors"]
    assert (victim / "model.safetensors").read_text() == "another model"
    assert (tmp_path / "own.unfinished" / "thesis.txt").read_text() == "chapter one"


def test_a_destination_that_is_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match="is taken"):
        export_run(run(*LORA), tmp_path / "out")
    assert not list((tmp_path / "victim").iterdir())


def test_a_source_without_a_checkpoint_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(MissingInputError, match="no whole checkpoint"):
        export_run(tmp_path / "run", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_model_that_was_written_wrong_is_not_put_in_place(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_damaged(model: Phi3VForCausalLM, directory: Path, beat: Callable[[], None]) -> Mapping[str, FileDigest]:
        digests = write_model(model, directory, beat)
        weights = load_file(directory / "model.safetensors")
        weights["model.layers.1.mlp.down_proj.weight"] *= 1.01
        save_file(weights, directory / "model.safetensors")
        return digests

    monkeypatch.setattr(export, "write_model", write_damaged)
    with pytest.raises(TrainingError, match="the model read again computes something else"):
        export_run(run(*LORA), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_best_weights_are_those_of_the_best_evaluation(run: Run, tmp_path: Path) -> None:
    # At this rate the last step makes the loss on the held-out rows worse again.
    directory = run(*LANGUAGE_LORA, "training.learning_rate=9", "evaluation.every_steps=1")
    state = read_state(list_checkpoints(directory / "checkpoints")[-1])
    assert state.best_step < state.step
    assert export_run(directory, tmp_path / "best", weights="best").step == state.best_step
    assert export_run(directory, tmp_path / "last").step == state.step
    best = load_trained(directory / "checkpoints" / f"step-{state.best_step:06d}")
    inputs = example(best.processor)
    exported = load_model(tmp_path / "best", dtype=torch.float32)
    torch.testing.assert_close(logits_of(exported, inputs), logits_of(best.model, inputs), atol=1e-4, rtol=1e-4)


def test_a_run_that_held_nothing_out_has_no_best_weights(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="none is the best: take the last weights"):
        export_run(run(*LANGUAGE_LORA, "data.eval_fraction=0"), tmp_path / "model", weights="best")


def test_the_best_is_not_asked_of_one_checkpoint(run: Run, tmp_path: Path) -> None:
    (checkpoint,) = list_checkpoints(run(*LORA) / "checkpoints")
    with pytest.raises(UsageError, match="name the run's directory"):
        export_run(checkpoint, tmp_path / "model", weights="best")


def test_a_run_that_wants_flash_attention_is_exported_on_a_cpu(run: Run, tmp_path: Path) -> None:
    (checkpoint,) = list_checkpoints(run(*FULL) / "checkpoints")
    shutil.copytree(checkpoint.parent.parent, tmp_path / "run")
    copied = tmp_path / "run" / "checkpoints" / checkpoint.name
    recipe = json.loads((copied / "recipe.json").read_text())
    recipe["model"]["attention"] = "flash_attention_2"
    content = json.dumps(recipe, indent=1).encode()
    (copied / "recipe.json").write_bytes(content)
    manifest = json.loads((copied / "MANIFEST.json").read_text())
    manifest["recipe.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "num_bytes": len(content)}
    (copied / "MANIFEST.json").write_text(json.dumps(manifest))
    assert export_run(copied, tmp_path / "model").reload_difference == 0


@pytest.mark.parametrize("found", [2e-5, float("nan")])
def test_a_difference_over_the_allowed_or_not_a_number_is_an_error(found: float) -> None:
    with pytest.raises(TrainingError, match="allowed"):
        check_difference(found, 1e-5, "the model")
