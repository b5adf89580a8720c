"""SIGTERM in any phase: saved within a step, exit code 143, and resumed as if nothing had been."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phi3k_trainer.contract import PREEMPTED_EXIT_CODE
from tests import small_runs


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("preemption"))


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    return small_runs.run(recipe, "name=undisturbed")


# The moment, and the call at whose start the signal arrives: (module, name, so manieth call).
MOMENTS = {
    "reading-data": ("phi3k_trainer.training.run_inputs", "prepare_dataset", 1),
    "first-step": ("phi3k_trainer.training.loop", "add_gradients", 1),
    "loading-a-batch": ("phi3k_trainer.training.loader", "collate", 9),
    "clipping": ("phi3k_trainer.training.loop", "clip_gradients", 3),
    "evaluation-loss": ("phi3k_trainer.training.loop", "evaluating", 1),
    "generation": ("phi3k_trainer.training.loop", "predict_examples", 1),
    "saving": ("phi3k_trainer.checkpoints.keeper", "write_checkpoint", 1),
    "last-evaluation": ("phi3k_trainer.training.run", "evaluate", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_saves_and_the_resumed_run_is_the_same(recipe: Path, undisturbed: Path, moment: str) -> None:
    name = f"name={moment}"
    log = recipe.parent / f"{moment}.txt"
    (code,) = small_runs.wait(small_runs.start(recipe, name, terminate_in=MOMENTS[moment], log=log))
    assert code == PREEMPTED_EXIT_CODE, log.read_text()
    directory = recipe.parent / "runs" / moment
    steps_done = [line["step"] for line in small_runs.metrics(directory)] if moment != "reading-data" else []
    saved = [int(path.name.removeprefix("step-")) for path in small_runs.checkpoints(directory)]
    assert max(saved, default=0) == max(steps_done, default=0)

    small_runs.run(recipe, name, resume=True)

    assert small_runs.metrics(directory) == small_runs.metrics(undisturbed)


def test_a_signal_to_one_of_two_processes_stops_both_at_the_same_step(recipe: Path) -> None:
    log = recipe.parent / "both.txt"
    processes = small_runs.start(recipe, "name=both", "training.epochs=50", num_processes=2, log=log)
    directory = recipe.parent / "runs" / "both"
    wait_until(lambda: (directory / "metrics.jsonl").exists() and len(small_runs.metrics(directory)) > 2)
    os.kill(int(processes[1].pid or 0), signal.SIGTERM)
    assert small_runs.wait(processes) == [PREEMPTED_EXIT_CODE] * 2
    last_step = small_runs.metrics(directory)[-1]["step"]
    assert small_runs.checkpoints(directory)[-1].name == f"step-{last_step:06d}"
    assert log.read_text().count(f"asked to stop after step {last_step}") == 2


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
