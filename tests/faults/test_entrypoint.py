"""The first process of the container, with real torchrun: what it says and keeps when one of its processes is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi3k_trainer.contract import DEADLINE_EXIT_CODE, DEADLINE_VARIABLE
from phi3k_trainer.errors import UnavailableError
from tests import small_runs

# Importing torch takes a minute where many tests share two cores.
PATIENCE_SECONDS = 240


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_recipe(tmp_path_factory.mktemp("entrypoint"))


@contextmanager
def entrypoint(
    recipe: Path, *overrides: str, num_processes: int = 1, shape: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The entry point as the container starts it: alone with its processes, or in another `shape` (PET_*)."""
    command = [sys.executable, "-m", "phi3k_trainer.replica.entrypoint", str(recipe)]
    for override in overrides:
        command += ["--set", override]
    alone = {"PET_NNODES": "1", "PET_NPROC_PER_NODE": str(num_processes), "PET_STANDALONE": "1"}
    environment = os.environ | (shape or alone) | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def workers(process: subprocess.Popen[str]) -> dict[int, int]:
    """The process id of each rank that the entry point's torchrun has started."""
    torchrun = children(process.pid)
    return {rank_of(pid): pid for parent in torchrun for pid in children(parent)}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> int:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(variable[5:]) for variable in variables if variable.startswith(b"RANK="))


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log_of(recipe: Path, run: str, attempt: int) -> str:
    return (recipe.parent / "runs" / run / "logs" / f"{socket.gethostname()}-{attempt}.log").read_text()


def test_a_killed_process_is_named_the_next_attempt_tells_of_it_and_one_after_the_end_is_done_at_once(
    recipe: Path,
) -> None:
    overrides = ("name=killed", "training.epochs=50", "training.max_steps=12", "evaluation.every_steps=null")
    run = recipe.parent / "runs" / "killed"
    with entrypoint(recipe, *overrides, num_processes=2) as process:
        wait_until(lambda: (run / "checkpoints").exists() and small_runs.checkpoints(run))
        os.kill(workers(process)[0], signal.SIGKILL)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 137
    assert json.loads(said.splitlines()[-1])["message"].startswith("a process was killed by SIGKILL")
    kept = log_of(recipe, "killed", 1)
    assert "step 1/12" in said
    assert "step 1/12" in kept
    # What the second process wrote goes to the file only.
    assert "[1] rank 1 of 2" in kept
    assert "[1] " not in said

    with entrypoint(recipe, *overrides, num_processes=2) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    begin, going_on, *_ = said.splitlines()
    assert json.loads(begin)["previous"]["exit_code"] == 137
    assert going_on.startswith("continuing from")

    with entrypoint(recipe, *overrides, num_processes=2) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    # Made again after it has ended, it prepares and loads nothing.
    assert said.splitlines()[1:] == ["done before: all 12 steps are trained, and nothing is left to do"]


def test_a_wrong_recipe_ends_at_once_with_its_own_code(recipe: Path) -> None:
    with entrypoint(recipe, "training.epochs=-1") as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 78
    assert "training.epochs" in said


def test_gpus_that_torch_does_not_see_are_refused_before_training_with_what_is_there(recipe: Path) -> None:
    with entrypoint(recipe, "name=blind", "cluster.gpus=2", num_processes=2) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == UnavailableError.exit_code
    message = json.loads(said.splitlines()[-1])["message"]
    assert message.startswith("cluster.gpus is 2, torch sees none.")
    assert "device files: none; NVIDIA_VISIBLE_DEVICES: not set" in message
    assert not (recipe.parent / "runs" / "blind" / "dataset.json").exists(), "nothing was prepared"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def elastic(port: int, _rank: int) -> dict[str, str]:
    """A worker of a PyTorchJob, with a rendezvous of its own that gives up after seconds."""
    endpoint = {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"{socket.gethostname()}:{port}", "PET_RDZV_ID": "run"}
    return {"PET_NNODES": "2:2", "PET_NPROC_PER_NODE": "1", "PET_RDZV_CONF": "join_timeout=60", **endpoint}


def static(port: int, rank: int) -> dict[str, str]:
    """A pod of a Job or a TrainJob."""
    address = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "PET_NODE_RANK": str(rank)}
    return {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", **address}


def waits(process: subprocess.Popen[str]) -> str:
    """Whom the process says that it waits for."""
    assert process.stdout is not None
    return next(json.loads(line)["waiting_for"] for line in process.stdout if "waiting_for" in line)


@pytest.mark.parametrize("shape", [elastic, static])
def test_replicas_that_come_far_apart_wait_and_train_together(
    recipe: Path, shape: Callable[[int, int], dict[str, str]]
) -> None:
    port, overrides = free_port(), (f"name={shape.__name__}", "training.max_steps=2", "evaluation.max_samples=2")
    with entrypoint(recipe, *overrides, shape=shape(port, 0)) as first:
        assert waits(first) == "1 more of 2 replicas"
        time.sleep(3)
        with entrypoint(recipe, *overrides, shape=shape(port, 1)) as second:
            said, _ = first.communicate(timeout=PATIENCE_SECONDS)
            other, _ = second.communicate(timeout=PATIENCE_SECONDS)
    assert (first.returncode, second.returncode) == (0, 0), said + other
    assert "all 2 replicas are here" in said
    assert "step 2/2" in said + other


def test_the_first_replica_is_waited_for_as_well(recipe: Path) -> None:
    port, overrides = free_port(), ("name=host-late", "training.max_steps=1", "evaluation.max_samples=2")
    with entrypoint(recipe, *overrides, shape=static(port, 1)) as second:
        assert waits(second) == f"127.0.0.1:{port}"
        with entrypoint(recipe, *overrides, shape=static(port, 0)) as first:
            codes = [process.wait(PATIENCE_SECONDS) for process in (first, second)]
    assert codes == [0, 0]


def test_being_stopped_or_killed_while_it_waits_counts_no_attempt(recipe: Path) -> None:
    shape, overrides = static(free_port(), 0), ("name=unmet", "cluster.retries=0")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9), (signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        with entrypoint(recipe, *overrides, shape=shape) as process:
            assert waits(process) == "1 more of 2 replicas"
            process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == code
    assert "while it waited for 1 more of 2 replicas" in log_of(recipe, "unmet", 4)


def test_the_deadline_ends_the_wait(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEADLINE_VARIABLE, "3")
    with entrypoint(recipe, "name=too-late", shape=static(free_port(), 0)) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == DEADLINE_EXIT_CODE
    assert "the deadline has passed while waiting for 1 more of 2 replicas" in said


def test_a_full_disk_takes_no_log_and_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    """The disk of the run's logs alone is full: tmpfs of two pages, both taken."""
    logs = recipe.parent / "runs" / "full" / "logs"
    logs.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size=8k none {logs} && head -c 8k /dev/zero > {logs}/filler; exec "$@"'
    unshare = [str(shutil.which("unshare")), "--mount", *([] if os.geteuid() == 0 else ["--map-root-user", "--user"])]
    command = [sys.executable, "-m", "phi3k_trainer.replica.entrypoint", str(recipe)]
    command += ["--set", "name=full", "--set", "training.max_steps=2", "--set", "evaluation.max_samples=2"]
    command = [*unshare, "sh", "-c", mount, "sh", *command]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "misses lines: No space left on device. Training continues." in result.stderr
    assert "report:" in result.stdout
