"""A run's identity and environment."""

import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.tracking.environment import describe_environment, git_commit
from phi3k_trainer.tracking.start import run_id, start_tracking


def test_the_id_minted_at_submit_wins_then_the_checkpoints_then_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    assert run_id("saved") == "saved"
    assert run_id(None) != run_id(None)
    monkeypatch.setenv("WANDB_RUN_ID", "minted")
    assert run_id("saved") == "minted"


def test_a_run_leaves_metrics_and_its_environment(tmp_path: Path) -> None:
    recipe = parse_recipe(
        "{apiVersion: phi3k/v1, name: run, model: {base: tiny}, data: {source: sample, answer: x},"
        " tracking: {wandb: {mode: off}}}"
    )
    directory = tmp_path / "run"
    tracker = start_tracking(recipe, directory, run_id="id", step=0, total_steps=1, console=Console(quiet=True))
    tracker.log(1, {"train/loss": 1.0})
    tracker.finish(0)
    assert json.loads((directory / "metrics.jsonl").read_text())["train/loss"] == 1.0
    assert json.loads((directory / "environment.json").read_text()) == describe_environment()


def test_the_commit_says_whether_the_code_was_changed(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, check=True)
        return done.stdout.decode().strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    assert git_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": False}
    (tmp_path / "code.py").write_text("2")
    assert git_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": True}


def test_in_the_image_the_commit_is_the_one_it_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3K_REVISION", "0123abc")
    assert git_commit(tmp_path) == {"commit": "0123abc", "modified": False}
