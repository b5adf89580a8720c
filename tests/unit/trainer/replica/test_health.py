"""The health file, and the probe that reads it, run as the kubelet runs it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from phi3k_trainer.replica import health_check
from phi3k_trainer.replica.health import LIMITS, SHORTEST_LIMIT_SECONDS, Health

NUMBERS = {"samples": 8, "tokens": 4000, "loss": 1.5, "tokens_per_second": 900.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


def content(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def probe(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", health_check.__file__, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


def age(file: Path, seconds: float) -> None:
    """Let the last progress be so long ago."""
    file.write_text(json.dumps(content(file) | {"time": time.time() - seconds}))


def test_a_run_that_makes_steps_is_ready(file: Path) -> None:
    health = Health(file)
    health.begin_training(0, 400)
    health.step(1, **NUMBERS)
    assert (probe(file).returncode, probe(file).stdout) == (0, "")
    assert content(file)["step"] == 1
    assert content(file)["loss"] == 1.5


def test_a_run_that_stands_is_not_ready_and_says_where_since_when(file: Path) -> None:
    health = Health(file)
    health.begin_training(119, 400)
    health.step(120, **NUMBERS)
    age(file, LIMITS["training"] + 60)
    result = probe(file)
    assert result.returncode == 1
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(content(file)["time"]))
    assert result.stdout == f"no progress since {since}: training at step 120 of 400\n"


@pytest.mark.parametrize("phase", LIMITS)
def test_every_phase_has_its_own_patience(file: Path, phase: Any) -> None:
    health = Health(file)
    health.enter(phase)
    age(file, LIMITS[phase] - 60)
    assert probe(file).returncode == 0
    age(file, LIMITS[phase] + 60)
    assert probe(file).stdout.endswith(f": {phase}\n")


def test_a_save_interrupts_training_and_has_more_patience(file: Path) -> None:
    health = Health(file)
    health.begin_training(5, 10)
    with health.meanwhile("saving"):
        assert (content(file)["phase"], content(file)["limit_seconds"]) == ("saving", LIMITS["saving"])
    assert content(file)["phase"] == "training"


def test_slow_steps_earn_patience(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 300))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    health = Health(file)
    health.begin_training(0, 10)
    health.step(1, **NUMBERS)
    assert content(file)["limit_seconds"] == LIMITS["training"]
    health.step(2, **NUMBERS)
    assert content(file)["limit_seconds"] == 3000


def test_quick_steps_do_not_make_the_probe_impatient(file: Path) -> None:
    health = Health(file)
    health.begin_training(0, 10)
    health.step(1, **NUMBERS)
    health.step(2, **NUMBERS)
    assert content(file)["limit_seconds"] == SHORTEST_LIMIT_SECONDS


def test_beats_show_that_a_long_phase_goes_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(file)
    health.enter("evaluating")
    age(file, 5000)
    health.beat()
    assert probe(file).returncode == 0


def test_before_the_first_word_the_containers_own_age_counts() -> None:
    assert health_check.complaint(None, now=1030.0, started=1000.0) == ""
    assert (
        health_check.complaint(None, now=1090.0, started=1000.0) == "no progress since 1970-01-01T00:16:40Z: starting"
    )


def test_the_containers_start_is_read_from_the_kernel() -> None:
    now = time.time()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert now - uptime - 2 <= health_check.container_started(now) <= now


def test_only_the_first_process_of_a_replica_writes(file: Path) -> None:
    for rank in ("1", "0"):
        assert not file.exists()
        Health.of_this_process({"PHI3K_HEALTH_FILE": str(file), "LOCAL_RANK": rank}).enter("building")
    assert file.exists()


def test_outside_a_container_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Health.of_this_process({}).enter("training")
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_leaves_the_file_valid_json(file: Path) -> None:
    health = Health(file)
    health.step(1, **NUMBERS | {"loss": float("nan")})
    assert content(file)["loss"] is None


def test_a_directory_that_takes_no_file_does_not_end_the_run(tmp_path: Path) -> None:
    Health(tmp_path / "missing" / "health.json").enter("training")
    assert not list(tmp_path.iterdir())
