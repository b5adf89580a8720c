"""A run that is killed and resumed ends as one that never was: bit for bit, whenever the kill came."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from phi3k_trainer.errors import MissingInputError
from tests import small_runs

SETTINGS = ("tuning.method=lora", "tuning.vision=full", "tuning.projector=full", "tuning.dropout=0.2", "tuning.rank=4")
"""Adapters, dropout and full weights at once."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "two-processes"])
def undisturbed(request: pytest.FixtureRequest, recipe: Path) -> tuple[int, Path]:
    num_processes: int = request.param
    name = f"name=undisturbed-{num_processes}"
    return num_processes, small_runs.run(recipe, *SETTINGS, name, num_processes=num_processes)


def test_kills_at_random_moments_leave_no_trace(recipe: Path, undisturbed: tuple[int, Path]) -> None:
    num_processes, reference = undisturbed
    settings = (*SETTINGS, f"name=killed-{num_processes}")
    directory = small_runs.run_path(recipe, *settings)
    dice = random.Random(0)
    kills = 0
    while kills < 3:
        step = last_step(directory)
        processes = small_runs.start(recipe, *settings, resume=True, num_processes=num_processes)
        try:
            wait_for_step(directory, step + 1)
            time.sleep(dice.uniform(0, 0.3))
        finally:
            for process in processes:
                process.kill()
        small_runs.wait(processes)
        kills += 1
    small_runs.run(recipe, *settings, resume=True, num_processes=num_processes)
    assert_same_run(directory, reference)


def test_a_kill_in_the_middle_of_a_save_leaves_no_trace(recipe: Path, undisturbed: tuple[int, Path]) -> None:
    num_processes, reference = undisturbed
    settings = (*SETTINGS, f"name=killed-saving-{num_processes}")
    directory = small_runs.run_path(recipe, *settings)
    killed_saving = small_runs.start(
        recipe, *settings, num_processes=num_processes, kill_at_fsync=5, log=recipe.parent / "log.txt"
    )
    codes = small_runs.wait(killed_saving)
    assert codes[0] == -signal.SIGKILL
    assert list((directory / "checkpoints").glob(".partial-*"))

    small_runs.run(recipe, *settings, resume=True, num_processes=num_processes)
    assert_same_run(directory, reference)
    assert not list((directory / "checkpoints").glob(".*"))


@pytest.mark.parametrize("undisturbed", [1], indirect=True, ids=["alone"])
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(recipe: Path, undisturbed: tuple[int, Path]) -> None:
    _, reference = undisturbed
    settings = (*SETTINGS, "name=undisturbed-1")
    directory = recipe.parent / "copies" / "runs" / "undisturbed-1"
    shutil.copytree(reference, directory)
    newest = small_runs.checkpoints(directory)[-1]
    flip_a_bit(newest / "optimizer.safetensors")
    elsewhere = f"checkpoint.directory={directory.parent}"

    small_runs.run(recipe, *settings, elsewhere, resume=True)

    assert (
        f"{newest} is damaged (optimizer.safetensors does not match its SHA-256"
        in (recipe.parent / "log.txt").read_text()
    )
    assert_same_run(directory, reference)


def test_no_whole_checkpoint_is_an_error_that_touches_nothing(recipe: Path, undisturbed: tuple[int, Path]) -> None:
    _, reference = undisturbed
    directory = recipe.parent / "ruins" / reference.name
    shutil.copytree(reference, directory, dirs_exist_ok=True)
    for checkpoint in small_runs.checkpoints(directory):
        (checkpoint / "state.json").unlink()
    settings = (*SETTINGS, f"name={reference.name}", f"checkpoint.directory={directory.parent}")
    codes = small_runs.wait(small_runs.start(recipe, *settings, resume=True))
    assert codes == [MissingInputError.exit_code]
    assert len(small_runs.checkpoints(directory)) == len(small_runs.checkpoints(reference))


def assert_same_run(run: Path, reference: Path) -> None:
    """Same numbers logged, same checkpoints kept, same tensors and state in the last one."""
    assert small_runs.metrics(run) == small_runs.metrics(reference)
    assert (run / "evaluation.json").read_text().replace(run.name, reference.name) == (
        reference / "evaluation.json"
    ).read_text()
    ours, theirs = small_runs.checkpoints(run), small_runs.checkpoints(reference)
    assert [path.name for path in ours] == [path.name for path in theirs]
    ours_last, theirs_last = small_runs.tensors(ours[-1]), small_runs.tensors(theirs[-1])
    assert ours_last.keys() == theirs_last.keys()
    for name, value in theirs_last.items():
        assert torch.equal(ours_last[name], value), name


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def last_step(directory: Path) -> int:
    lines = small_runs.metrics(directory) if (directory / "metrics.jsonl").exists() else []
    return max((line["step"] for line in lines), default=0)


def wait_for_step(directory: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while last_step(directory) < step:
        assert time.monotonic() < deadline, f"step {step} was not reached"
        time.sleep(0.01)
