"""Several processes learn what one learns: replicated (DDP) and sharded (FSDP2), over gloo on this machine's CPU."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import small_runs

STEPS = "training.max_steps=3"
EVERY_STEP = ("checkpoint.every_steps=1", "checkpoint.keep=9")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("parallel"))


@pytest.fixture(scope="module")
def alone(recipe: Path) -> Path:
    return small_runs.run(recipe, STEPS, *EVERY_STEP, "name=alone")


# 120 tokens make several forward passes a process and step; 1000 make one.
@pytest.mark.parametrize(("parallel", "tokens_per_batch"), [("ddp", 120), ("ddp", 1000), ("fsdp", 120)])
def test_two_processes_make_the_gradients_of_one(
    recipe: Path, alone: Path, parallel: str, tokens_per_batch: int
) -> None:
    name = f"name={parallel}-{tokens_per_batch}"
    settings = (f"training.parallel={parallel}", f"training.tokens_per_batch={tokens_per_batch}")
    both = small_runs.run(recipe, STEPS, *EVERY_STEP, name, *settings, num_processes=2)

    first_alone, first_both = small_runs.metrics(alone)[0], small_runs.metrics(both)[0]
    assert first_both["train/loss"] == pytest.approx(first_alone["train/loss"], rel=1e-6)
    assert first_both["train/grad_norm"] == pytest.approx(first_alone["train/grad_norm"], rel=1e-6)
    # After one step AdamW's first moment is a tenth of the clipped gradient, whose norm is 1.
    gradient_alone, gradient_both = first_moments(alone), first_moments(both)
    assert gradient_both.keys() == gradient_alone.keys()
    squares = [(gradient_both[name] - gradient_alone[name]).double().square().sum() for name in gradient_alone]
    assert torch.stack(squares).sum().sqrt() < 1e-6 * 0.1
    assert epochs(both) == epochs(alone)


def test_a_sharded_run_goes_on_in_one_process(recipe: Path) -> None:
    settings = ("name=shrinks", "tuning.method=lora", "tuning.dropout=0", "tuning.vision=full", "tuning.projector=lora")
    longer = ("training.max_steps=4", *EVERY_STEP)
    directory = small_runs.run(recipe, *longer, *settings, "training.parallel=fsdp", num_processes=2)
    (sharded,) = losses_of_step(4, directory)
    for later in ("step-000003", "step-000004"):
        shutil.rmtree(directory / "checkpoints" / later)

    small_runs.run(recipe, *longer, *settings, resume=True)

    assert losses_of_step(4, directory) == [pytest.approx(sharded, rel=1e-5)]


def test_torchrun_starts_the_command_in_two_processes(recipe: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    overrides = ["training.max_steps=1", "name=torchrun", "model.dtype=bfloat16", "evaluation.blind=false"]
    settings = [word for override in overrides for word in ("--set", override)]
    done = subprocess.run(
        [*torchrun, "-m", "phi3k.main", "train", str(recipe), *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: ") == 1
    for rank in (0, 1):
        assert f"rank {rank} of 2 on cpu, weights replicated (DDP)" in done.stdout


def first_moments(run_directory: Path) -> dict[str, torch.Tensor]:
    stored = small_runs.tensors(run_directory / "checkpoints" / "step-000001")
    return {name: value for name, value in stored.items() if name.endswith(".exp_avg")}


def epochs(run_directory: Path) -> list[float]:
    """How far through the data each step came."""
    return [line["train/epoch"] for line in small_runs.metrics(run_directory) if "train/epoch" in line]


def losses_of_step(step: int, run_directory: Path) -> list[float]:
    lines = small_runs.metrics(run_directory)
    return [line["train/loss"] for line in lines if line["step"] == step and "train/loss" in line]
