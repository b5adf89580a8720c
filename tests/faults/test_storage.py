"""Checkpoints on a bad disk: full, truncated, with flipped bits. What was saved before is never lost."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from phi3k_trainer.checkpoints.files import clean_up, find_damage, newest_verified, write_checkpoint
from phi3k_trainer.checkpoints.tensor_file import TensorFile, TensorLayout
from phi3k_trainer.errors import StorageError
from tests import small_runs

TRAIN = """
import sys
from phi3k_trainer.errors import Phi3kError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.training.run import train
try:
    train(load_recipe(sys.argv[1], sys.argv[2:]))
except Phi3kError as error:
    print(error.exit_code, error)
    sys.exit(error.exit_code)
"""


def numbers(*values: float) -> TensorFile:
    tensor = torch.tensor(values)
    return TensorFile({"numbers": TensorLayout(tensor.dtype, tuple(tensor.shape))}, iter([tensor]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two checkpoints, steps 1 and 2."""
    for step in (1, 2):
        write_checkpoint(
            tmp_path,
            step,
            {"model.safetensors": numbers(step), "optimizer.safetensors": numbers(step, 0.5)},
            {"state.json": {"step": step}, "recipe.json": {"name": "small"}},
        )
    return tmp_path


FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "recipe.json", "MANIFEST.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["truncated", "flipped", "longer", "missing"])
def test_a_checkpoint_with_any_file_harmed_is_passed_over(root: Path, name: str, harm: str) -> None:
    path = root / "step-000002" / name
    content = path.read_bytes()
    harmed = {
        "truncated": content[: len(content) // 2],
        "flipped": bytes([content[0] ^ 4]) + content[1:],
        "longer": content + b"}",
        "missing": None,
    }[harm]
    path.unlink() if harmed is None else path.write_bytes(harmed)

    found, damaged = newest_verified(root)

    assert found == root / "step-000001"
    assert [one.path.name for one in damaged] == ["step-000002"]
    assert name in damaged[0].damage


def test_every_flipped_bit_of_a_checkpoint_is_seen(root: Path) -> None:
    checkpoint = root / "step-000002"
    path = checkpoint / "state.json"
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert find_damage(checkpoint) is not None


def test_a_save_that_was_cut_off_is_cleaned_up(root: Path) -> None:
    (root / ".partial-step-000003").mkdir()
    (root / "step-000002").rename(root / ".replaced-step-000002")
    clean_up(root)
    assert sorted(path.name for path in root.iterdir()) == ["step-000001", "step-000002"]


def test_the_values_that_run_out_leave_the_old_checkpoint_of_that_step(root: Path) -> None:
    def broken() -> Iterator[torch.Tensor]:
        raise OSError(5, "Input/output error")
        yield

    layouts = {"numbers": TensorLayout(torch.float32, (1,))}
    with pytest.raises(StorageError, match="Input/output error"):
        write_checkpoint(root, 2, {"model.safetensors": TensorFile(layouts, broken())}, {})
    assert find_damage(root / "step-000002") is None
    assert not list(root.glob(".*"))


def test_training_goes_on_when_the_disk_is_full_and_says_how_much_is_missing(tmp_path: Path) -> None:
    recipe = small_runs.write_recipe(tmp_path)
    disk = tmp_path / "small-disk"
    disk.mkdir()
    # Room for the base model and two checkpoints, not for three.
    size = 2 * run_bytes(recipe)
    mount = f"mount -t tmpfs -o size={size} none {disk}"
    keep = f"cp -r {disk} {tmp_path}/after"
    settings = f"checkpoint.directory={disk} checkpoint.keep=9 training.max_steps=12 evaluation.every_steps=null"
    done = subprocess.run(
        in_namespace(f"{mount} && {sys.executable} -c '{TRAIN}' {recipe} {settings}; code=$?; {keep}; exit $code"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    said = done.stdout + done.stderr
    assert done.returncode == StorageError.exit_code, said  # the last save is the one that can't be done without
    assert "Training continues" in said
    assert re.search(r"Free at least [\d.]+ MB", said)
    directory = tmp_path / "after" / "small"
    logged = [json.loads(line)["step"] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    saved, damaged = newest_verified(directory / "checkpoints")
    assert max(logged) == 12
    assert saved is not None
    assert saved.name < "step-000012"
    assert not damaged


def run_bytes(recipe: Path) -> int:
    """What a run with a single checkpoint takes on disk."""
    directory = small_runs.run(recipe, "name=measured", "training.max_steps=1", "evaluation.every_steps=null")
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def in_namespace(shell: str) -> list[str]:
    """A command that runs `shell` where it may mount file systems that end with it."""
    unshare = [str(shutil.which("unshare")), "--mount"]
    return [*unshare, *([] if os.geteuid() == 0 else ["--map-root-user", "--user"]), "sh", "-c", shell]
