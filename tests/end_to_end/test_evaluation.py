"""A trained run is asked: by several processes together, and by `phi3k eval` and `phi3k predict`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from phi3k_trainer.errors import DataError, MissingInputError, UsageError
from phi3k_trainer.evaluation.predictions import read_predictions
from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.trained.asking import evaluate_base, evaluate_run, predict
from phi3k_trainer.training.run import RunResult, train

RECIPE = """
apiVersion: phi3k/v1
name: asked
model:
  base: tiny
  dtype: float32
  num_crops: 1
  tiny: {hidden_size: 32, num_layers: 2, vision_hidden_size: 32, vision_num_layers: 2, patch_size: 84}
data:
  source: sample
  image: imageurl
  answer: "Product: {title}, Category: {category3_code}, Full Price: {full_price}"
  eval_fraction: 0.3
  sample: {rows: 60, image_size: 64}
tuning: {method: full, vision: full, projector: full}
training: {max_steps: 2, tokens_per_step: 512}
evaluation: {categories: [category3_code], max_new_tokens: 8, max_samples: 9, batch_size: 2}
tracking: {wandb: {mode: off}}
"""

# Each process prints the answers; with `fsdp` the weights are sharded over the processes.
ASK = """
import contextlib, json, sys, torch
from pathlib import Path
from phi3k_trainer.data.dataset import StoredImage
from phi3k_trainer.data.encoding import Encoder
from phi3k_trainer.evaluation.generation import Generator, Question
from phi3k_trainer.model.loading import load_model
from phi3k_trainer.prompts.conversation import Turn
from phi3k_trainer.prompts.tokenizer import load_tokenizer
from phi3k_trainer.distributed.processes import joined_processes
from phi3k_trainer.training.parallel import shard

base, pictures, output = Path(sys.argv[1]), sys.argv[2].split(","), Path(sys.argv[3])
with joined_processes() as processes:
    model, tokenizer = load_model(base, dtype=torch.float32), load_tokenizer(base)
    encoder = Encoder(tokenizer, model.config, num_crops=1, max_pixels=10**7)
    questions = [Question(p, (Turn("user", "<|image_1|>\\nWhat?" + " more" * i),), (StoredImage(Path(p), p, 64, 64),))
                 for i, p in enumerate(pictures)]
    if sys.argv[4] == "fsdp":
        shard(model, processes, torch.float32)
    answers = Generator(model, encoder, tokenizer, 8, 2, processes, contextlib.nullcontext).answers(questions)
    (output / f"{processes.rank}.json").write_text(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of two steps, trained by the path of `phi3k train`."""
    directory = tmp_path_factory.mktemp("asked")
    overrides = [f"checkpoint.directory={directory / 'runs'}", f"data.cache={directory / 'cache'}"]
    return train(parse_recipe(RECIPE, overrides=overrides), console=Console(quiet=True))


@pytest.fixture(scope="module")
def pictures(run: RunResult) -> list[Path]:
    return [one.images[0] for one in read_predictions(run.directory.path / "predictions" / "step-2.jsonl")][:5]


def ask(run: RunResult, pictures: list[Path], output: Path, kind: str) -> list[list[str]]:
    """The answers by rank."""
    output.mkdir()
    (output / "ask.py").write_text(ASK)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable] if kind == "alone" else torchrun
    arguments = [str(run.directory.base), ",".join(map(str, pictures)), str(output), kind]
    done = subprocess.run(
        [*command, str(output / "ask.py"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(path.read_text()) for path in sorted(output.glob("*.json"))]


@pytest.fixture(scope="module")
def alone(run: RunResult, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    [answers] = ask(run, pictures, tmp_path_factory.mktemp("one") / "alone", "alone")
    return answers


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_share_the_questions_and_know_all_answers(
    kind: str, run: RunResult, pictures: list[Path], alone: list[str], tmp_path: Path
) -> None:
    assert len(alone) == 5
    assert ask(run, pictures, tmp_path / kind, kind) == [alone, alone]


def test_a_run_is_evaluated_again_as_it_was_at_its_end(run: RunResult) -> None:
    path = run.directory.path / "evaluation.json"
    before = path.read_bytes()
    path.unlink()
    result = evaluate_run(run.directory.path)
    assert result.directory == run.directory.path
    assert path.read_bytes() == before
    assert result.report.is_file()


def test_overrides_choose_what_is_asked(run: RunResult) -> None:
    result = evaluate_run(run.checkpoint, ["evaluation.max_samples=3", "evaluation.blind=false"])
    assert result.evaluated.evaluation.samples == len(result.evaluated.predictions) == 3
    assert result.evaluated.evaluation.blind is None


def test_a_picture_is_answered_as_in_the_evaluation(run: RunResult) -> None:
    expected = evaluate_run(run.directory.path, ["evaluation.blind=false"]).evaluated.predictions[:2]
    answers = predict(run.directory.path, [one.images[0] for one in expected])
    assert answers == [one.answer for one in expected]


def test_a_missing_picture_a_broken_one_and_a_missing_run_are_named(
    run: RunResult, pictures: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(MissingInputError, match=r"nowhere\.png"):
        predict(run.directory.path, [tmp_path / "nowhere.png"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:-300])
    with pytest.raises(DataError, match=r"broken\.png: the picture is damaged"):
        predict(run.directory.path, [broken])
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MissingInputError, match=r"pipe\.png can't be read: not a regular file"):
        predict(run.directory.path, [tmp_path / "pipe.png"])
    with pytest.raises(MissingInputError, match="is not there"):
        predict(tmp_path / "no-run", pictures[:1])


def test_a_question_with_columns_needs_a_prompt(run: RunResult, pictures: list[Path], tmp_path: Path) -> None:
    overrides = [f"checkpoint.directory={tmp_path}", f"data.cache={run.directory.path.parent.parent / 'cache'}"]
    text = RECIPE.replace("  image: imageurl", '  image: imageurl\n  prompt: "What does {brand} sell here?"')
    other = train(parse_recipe(text, overrides=overrides), console=Console(quiet=True))
    with pytest.raises(UsageError, match="--prompt"):
        predict(other.directory.path, pictures[:1])
    assert len(predict(other.directory.path, pictures[:1], prompt="What is it?")) == 1


def test_random_weights_have_no_score_before_tuning() -> None:
    with pytest.raises(UsageError, match="nothing to evaluate"):
        evaluate_base(parse_recipe(RECIPE))
