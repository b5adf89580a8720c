"""`phi3k train`, `eval`, `predict` and `export`, one after the other on a run of two steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi3k.main import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


def small_demo(place: Path) -> list[str]:
    changes = [
        "training.max_steps=2",
        "training.tokens_per_step=512",
        "data.sample={rows: 40, image_size: 64}",
        "data.eval_fraction=0.3",
        "model.tiny={hidden_size: 32, num_layers: 1, vision_hidden_size: 32, vision_num_layers: 2}",
        "evaluation.max_samples=4",
        "evaluation.max_new_tokens=4",
        "tracking.wandb.mode=off",
        f"data.cache={place}/cache",
        f"checkpoint.directory={place}/runs",
    ]
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    assert main(["train", "demo", *small_demo(place)]) == 0
    return place / "runs" / "demo"


def test_train_refuses_to_write_over_a_run(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "demo", *small_demo(place)]) == 73
    assert f"{run} already holds a run" in capsys.readouterr().err


def test_a_finished_run_resumes_to_its_end_and_says_so_in_json(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "demo", *small_demo(place), "--resume", "--output", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["directory"], result["steps"]) == (str(run), 2)
    assert Path(result["checkpoint"]).is_dir()


def test_eval_prints_scores_beside_blind_ones_and_baselines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 4
    assert set(found["fields"]) == set(found["blind"]) == set(found["baselines"]) >= {"title", "full_price"}
    assert Path(found["report"]).is_file()
    assert main(["eval", str(run)]) == 0
    assert "category3_code: accuracy" in capsys.readouterr().out


def test_predict_answers_for_each_picture(run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = sorted(str(path) for path in (place / "cache").rglob("80000*"))[:2]
    assert len(pictures) == 2
    assert main(["predict", str(run), *pictures, "--output", "json"]) == 0
    assert [row["image"] for row in json.loads(capsys.readouterr().out)] == pictures
    assert main(["predict", str(run), *pictures]) == 0
    assert capsys.readouterr().out.count("\n") >= 2


def test_predict_of_what_is_no_picture_ends_with_65(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.png").write_text("not a picture")
    assert main(["predict", str(run), str(tmp_path / "note.png")]) == 65
    assert "note.png" in capsys.readouterr().err


def test_export_writes_a_model_that_reads_back_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "exported"
    assert main(["export", str(run), str(destination), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["reload_difference"] == 0
    assert (destination / "config.json").is_file()
    assert main(["export", str(run), str(destination)]) == 73
    assert "is taken" in capsys.readouterr().err


def test_a_run_that_is_not_there_ends_with_66(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path / "nothing")]) == 66
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(("policy", "turns"), [({}, 10_000), ({"OMP_WAIT_POLICY": "active"}, 30_000_000_000)])
def test_threads_sleep_soon_while_they_wait_unless_the_user_wants_them_to_spin(
    policy: dict[str, str], turns: int
) -> None:
    command = [sys.executable, "-m", "phi3k.main", "doctor"]
    environment = {**os.environ, **policy, "OMP_DISPLAY_ENV": "verbose"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert f"GOMP_SPINCOUNT = '{turns}'" in result.stderr
