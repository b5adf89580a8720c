"""Training runs small enough to be killed by the dozen: a catalogue of squares, a model of some thousand weights.

Processes are forked from a server that has torch and transformers imported, so one starts in a moment.
"""

import functools
import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

RECIPE = """
apiVersion: phi3k/v1
name: small
model:
  base: tiny
  dtype: float32
  num_crops: 1
  tiny: {{hidden_size: 32, num_layers: 2, vision_hidden_size: 32, vision_num_layers: 2, patch_size: 84}}
data:
  source: jsonl
  path: {directory}/rows.jsonl
  image: image
  prompt: "Which colour?"
  answer: "Colour: {{colour}}, Size: {{size}}"
  eval_fraction: 0.2
  cache: {directory}/cache
tuning: {{method: full, vision: full, projector: full}}
training: {{epochs: 2, tokens_per_step: 150, tokens_per_batch: 120, learning_rate: 3e-3, seed: 7}}
evaluation: {{every_steps: 4, max_samples: 6, max_new_tokens: 4, table_samples: 2, batch_size: 3}}
checkpoint: {{directory: {directory}/runs, every_steps: 3, every_minutes: null, keep: 2}}
tracking: {{wandb: {{mode: "off"}}}}
cluster: {{gpus: 0}}
"""
COLOURS = ("red", "green", "blue", "orange")

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["phi3k_trainer.training.run", "bitsandbytes", "peft"])


def write_rows(directory: Path, count: int = 40, *, without_picture_every: int = 4) -> None:
    """Write rows.jsonl and its pictures; every so manieth row is text only."""
    rows = []
    for index in range(count):
        colour, size = COLOURS[index % len(COLOURS)], 20 + index
        row: dict[str, Any] = {"colour": colour, "size": size, "image": None}
        if index % without_picture_every:
            row["image"] = f"{index}.png"
            Image.new("RGB", (size, 30), colour).save(directory / f"{index}.png")
        rows.append(row)
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(directory: Path) -> Path:
    """Write the recipe of the small run, and the data it names."""
    write_rows(directory)
    path = directory / "recipe.yaml"
    path.write_text(RECIPE.format(directory=directory))
    return path


def start(
    recipe: Path,
    *overrides: str,
    resume: bool = False,
    num_processes: int = 1,
    log: Path | None = None,
    kill_at_fsync: int | None = None,
    terminate_in: tuple[str, str, int] | None = None,
) -> list[ForkServerProcess]:
    """Start `phi3k train`'s path in so many processes, as torchrun would.

    What they print goes to `log`. With `kill_at_fsync` the first dies by SIGKILL when it flushes a file of a
    checkpoint for the so manieth time; with `terminate_in` = (module, function, n) each gets SIGTERM when that
    function is called for the nth time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(num_processes):
        environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes, "MASTER_PORT": port}
        output = str(log) if log else os.devnull
        arguments = (str(recipe), overrides, resume, environment, output, kill_at_fsync, terminate_in)
        process = CONTEXT.Process(target=_train, args=arguments, daemon=True)
        process.start()
        processes.append(process)
    return processes


def wait(processes: Sequence[ForkServerProcess], seconds: float = 120) -> list[int]:
    """The exit codes of `processes`, a killed one's being minus the signal."""
    for process in processes:
        process.join(seconds)
        if process.exitcode is None:
            for one in processes:
                one.kill()
            raise TimeoutError(f"a run took over {seconds} seconds")
    return [int(process.exitcode or 0) for process in processes]


def run(recipe: Path, *overrides: str, resume: bool = False, num_processes: int = 1) -> Path:
    """Train to the end; returns the run's directory."""
    log = recipe.parent / "log.txt"
    codes = wait(start(recipe, *overrides, resume=resume, num_processes=num_processes, log=log))
    if any(codes):
        raise AssertionError(f"exit codes {codes}: {log.read_text()}")
    return run_path(recipe, *overrides)


def run_path(recipe: Path, *overrides: str) -> Path:
    """The directory of the run that a recipe leads to."""
    name = next((one.split("=")[1] for one in overrides if one.startswith("name=")), "small")
    return recipe.parent / "runs" / name


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by file and name."""
    return {
        f"{path.name}:{name}": value
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def metrics(run_directory: Path) -> list[dict[str, Any]]:
    """The logged numbers that must not depend on the machine's mood: no times, no speeds."""
    lines = [json.loads(line) for line in (run_directory / "metrics.jsonl").read_text().splitlines()]
    moods = ("second", "time", "memory")
    return [{key: value for key, value in line.items() if not any(mood in key for mood in moods)} for line in lines]


def checkpoints(run_directory: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((run_directory / "checkpoints").glob("step-*"))


def _train(
    recipe: str,
    overrides: Sequence[str],
    resume: bool,
    environment: dict[str, int],
    log: str,
    kill_at_fsync: int | None,
    terminate_in: tuple[str, str, int] | None,
) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()}, MASTER_ADDR="127.0.0.1")
    from rich.console import Console

    from phi3k_trainer.errors import Phi3kError
    from phi3k_trainer.recipe import load_recipe
    from phi3k_trainer.training.run import train

    torch.set_num_threads(1)
    if kill_at_fsync is not None:
        _kill_at_fsync(kill_at_fsync)
    if terminate_in is not None:
        _terminate_in(*terminate_in)
    with Path(log).open("a") as output:
        sys.stderr = output
        try:
            train(load_recipe(recipe, overrides), resume=resume, console=Console(file=output, width=300))
        except Phi3kError as error:
            print(f"error {error.exit_code}: {error}", file=output)
            sys.exit(error.exit_code)


def _kill_at_fsync(count: int) -> None:
    """Have this process die when it flushes a file of a checkpoint for the `count`th time."""
    flush = os.fsync
    flushed = 0

    def fsync(descriptor: int) -> None:
        nonlocal flushed
        flushed += ".partial-" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if flushed == count:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync


def _terminate_in(module_name: str, function_name: str, count: int) -> None:
    """Have this process get SIGTERM when a function is called for the `count`th time; the function itself is real."""
    module = importlib.import_module(module_name)
    function = getattr(module, function_name)
    calls = 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **kwargs)

    setattr(module, function_name, call)
