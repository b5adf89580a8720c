"""The log of a replica's attempt in the run's directory, and what the next attempt reads in it."""

import json
from pathlib import Path

import pytest

from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.replica.attempts import KEPT_ATTEMPTS, begin_log, read_attempts, reason_to_give_up
from phi3k_trainer.replica.exit_report import ExitReport
from phi3k_trainer.replica.log import ReplicaLog
from tests.small_runs import RECIPE

KILLED = ExitReport(137, "a process was killed by SIGKILL before the run could save")
SAVED = ExitReport(143, "asked to stop after step 4", step=4, checkpoint="/runs/demo/checkpoints/step-000004")
GAVE_UP = ExitReport(70, "gave up")


def words(path: Path) -> list[str]:
    """The lines without their times."""
    return [line.partition(" ")[2] for line in path.read_text().splitlines()]


def attempt(run: Path, outcome: ExitReport | None) -> Path:
    log, _ = begin_log(run, "demo-master-0")
    log.write(b"a line\n")
    if outcome is not None:
        log.write(outcome.to_json().encode())
    log.close()
    return log.path


def test_an_attempt_keeps_its_lines_behind_their_time(tmp_path: Path) -> None:
    path = attempt(tmp_path, SAVED)
    assert path == tmp_path / "logs" / "demo-master-0-1.log"
    header, line, outcome = words(path)
    assert json.loads(header)["attempt"] == 1
    assert line == "a line"
    assert json.loads(outcome)["exit_code"] == 143


@pytest.mark.parametrize(
    ("outcome", "said"),
    [(SAVED, "ended with 143: asked to stop after step 4"), (None, "ended without a word")],
    ids=["saved", "lost"],
)
def test_the_next_attempt_says_how_the_one_before_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: ExitReport | None, said: str
) -> None:
    first = attempt(tmp_path, outcome)
    assert capsys.readouterr().out == ""
    attempt(tmp_path, None)
    told = json.loads(capsys.readouterr().out)
    assert told["attempt"] == 2
    assert said in told["message"]
    assert str(first) in told["message"]


def test_each_replica_counts_for_itself(tmp_path: Path) -> None:
    names = []
    for replica in ("demo-worker-1", "demo-worker-11", "demo-worker-1"):
        log, _ = begin_log(tmp_path, replica)
        log.close()
        names.append(log.path.name)
    assert names == ["demo-worker-1-1.log", "demo-worker-11-1.log", "demo-worker-1-2.log"]


def test_only_the_last_attempts_are_kept(tmp_path: Path) -> None:
    for _ in range(KEPT_ATTEMPTS + 3):
        attempt(tmp_path, SAVED)
    kept = {path.name for path in (tmp_path / "logs").iterdir()}
    assert kept == {f"demo-master-0-{number}.log" for number in range(4, KEPT_ATTEMPTS + 4)}


def test_a_long_log_keeps_its_last_lines_and_its_first_in_bounded_space(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "demo-1.log"
    log = ReplicaLog(path, {"attempt": 1}, max_bytes=1000)
    for number in range(500):
        log.write(f"line {number}".encode())
    log.close()
    files = sorted(path.parent.iterdir())
    assert [file.suffix for file in files] == [".log", ".old"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert words(path)[0] == '{"attempt": 1}'
    kept = words(files[1])[1:] + words(path)[1:]
    assert kept == [f"line {number}" for number in range(500 - len(kept), 500)]


def test_a_directory_that_takes_nothing_is_said_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the directory should be")
    for _ in range(2):
        assert attempt(tmp_path, SAVED)
    assert capsys.readouterr().err.count("Training continues") == 2


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return parse_recipe(RECIPE.format(directory=tmp_path), overrides=["cluster.retries=1"])


def give_up_after(recipe: Recipe, *outcomes: ExitReport | None) -> ExitReport | None:
    for outcome in outcomes:
        attempt(recipe.run_path, outcome)
    return reason_to_give_up(recipe, read_attempts(recipe.run_path / "logs", "demo-master-0"))


@pytest.mark.parametrize("outcome", [KILLED, None], ids=["killed", "lost"])
def test_more_failures_without_a_checkpoint_than_retries_are_the_end(
    recipe: Recipe, outcome: ExitReport | None
) -> None:
    assert give_up_after(recipe, outcome) is None
    gave_up = give_up_after(recipe, outcome)
    assert gave_up is not None
    assert gave_up.exit_code == 70
    assert "the last 2 attempts made no checkpoint" in gave_up.message


@pytest.mark.parametrize("last", [SAVED, GAVE_UP], ids=["preempted", "submitted again"])
def test_only_failures_in_a_row_count(recipe: Recipe, last: ExitReport) -> None:
    assert give_up_after(recipe, KILLED, KILLED, last) is None


def test_a_new_checkpoint_is_worth_another_try(recipe: Recipe) -> None:
    for step in (2, 4, 6):
        attempt(recipe.run_path, KILLED)
        (recipe.run_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    assert give_up_after(recipe) is None
