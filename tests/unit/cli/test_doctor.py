"""`phi3k doctor` on the machine that runs the tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi3k.doctor_checks import Status, tracker
from phi3k.main import main


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *arguments, "--output", "json"])
    report = json.loads(capsys.readouterr().out)
    return code, {**report, "checks": {check["name"]: check for check in report["checks"]}}


def test_a_machine_that_can_train_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = examined(capsys)
    assert (code, report["healthy"]) == (0, True)
    assert {"phi3k", "torch", "GPUs", "memory", "runs", "data cache", "W&B"} <= report["checks"].keys()


def test_too_few_gpus_fail(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = examined(capsys, "--gpus", "4096")
    assert (code, report["healthy"]) == (69, False)
    assert report["checks"]["GPUs"]["status"] == "FAILED"
    assert "wanted 4096" in report["checks"]["GPUs"]["found"]


def test_the_paths_of_a_recipe_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = examined(capsys, "demo", "--set", f"checkpoint.directory={tmp_path}/not/yet/there")
    assert code == 0
    assert report["checks"]["runs"]["found"].startswith(f"{tmp_path}/not/yet/there: ")


def test_a_path_that_cannot_be_written_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = examined(capsys, "demo", "--set", "checkpoint.directory=/proc/runs")
    assert code == 69
    assert report["checks"]["runs"]["status"] == "FAILED"


def test_the_table_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "transformers" in capsys.readouterr().out


def test_credentials_are_named_but_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789secret")
    check = tracker()
    assert check.status is Status.GOOD
    assert "secret" not in check.found


def test_credentials_in_the_netrc_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://tracker.example:8080")
    assert tracker().status is Status.WARNING
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine tracker.example login user password p\n")
    netrc.chmod(0o600)
    assert tracker().status is Status.GOOD
