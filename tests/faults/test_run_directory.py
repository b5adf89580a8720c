"""A run's directory that somebody or a bad disk has changed: what can't be used is named, and nothing hangs."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from phi3k_trainer.checkpoints.base_record import read_base_record
from phi3k_trainer.checkpoints.files import clean_up, find_damage
from phi3k_trainer.checkpoints.tensor_file import write_bytes
from phi3k_trainer.data.dataset import prepare_dataset
from phi3k_trainer.errors import MissingInputError, Phi3kError, RecipeError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.replica.attempts import begin_log
from phi3k_trainer.replica.finished import earlier_end
from phi3k_trainer.run_directory import BASE_RECORD, REMEDIES, RunDirectory
from phi3k_trainer.tracking.report import write_report
from phi3k_trainer.training.directory import claim, forget_results_after, held
from tests import small_runs

SECONDS = 120
"""What waits for a FIFO would never end; all else takes less, on a busy machine too."""
LIMIT = "training.max_steps=4"


def replaced(content: bytes) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.write_bytes(content)

    return harm


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return harm


def linked(target: str) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return harm


def made(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": replaced(b""),
    # Before the sections of a recipe that may be left out.
    "truncated": changed(lambda content: content[: len(content) // 8]),
    "not UTF-8": changed(lambda content: b"\xff\xfe" + content),
    "a list": replaced(b"[1, 2]\n"),
    "a number": replaced(b"7\n"),
    "NaN": replaced(b'{"step": NaN, "digest": NaN, "name": NaN}\n'),
    "deep nesting": replaced(b"[" * 100_000 + b"\n"),
    "another field": changed(lambda content: content.replace(b"{", b'{"unheard_of": "x", ', 1)),
    "another object": replaced(b'{"some": {"thing": "else"}}\n'),
    "a directory": made(Path.mkdir),
    "a FIFO": made(lambda path: os.mkfifo(path)),
    "a device": linked("/dev/zero"),
    "a loop": made(lambda path: path.symlink_to(path)),
    "a link to nothing": linked("/nowhere/at/all"),
}
HARMLESS = {
    ("metrics.jsonl", "empty"),
    ("metrics.jsonl", "truncated"),  # as a kill leaves it
    ("quarantine.jsonl", "empty"),
    ("predictions/step-4.jsonl", "empty"),
    ("environment.json", "another object"),
    ("environment.json", "another field"),
    ("dataset.json", "another field"),
    ("quarantine.jsonl", "another field"),
}
FILES = (
    "recipe.yaml",
    "dataset.json",
    "base.json",
    "quarantine.jsonl",
    "metrics.jsonl",
    "environment.json",
    "evaluation.json",
    "predictions/step-4.jsonl",
)
CASES = [(name, damage) for name in FILES for damage in DAMAGES if (name, damage) != ("recipe.yaml", "another field")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run of four steps with an evaluation and a row in quarantine."""
    recipe = small_runs.write_recipe(tmp_path_factory.mktemp("tampered"))
    with (recipe.parent / "rows.jsonl").open("a") as rows:
        rows.write('{"colour": null, "size": 1, "image": null}\n')
    small_runs.run(recipe, LIMIT)
    return recipe


@pytest.fixture
def run(recipe: Path) -> Iterator[Path]:
    """The run's directory, put back as it was after the test."""
    directory = small_runs.run_path(recipe)
    kept = directory.with_name("kept")
    shutil.copytree(directory, kept)
    yield directory
    shutil.rmtree(directory)
    kept.rename(directory)


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    def fail(*_: object) -> None:
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)


def read_all(recipe_path: Path, run: Path) -> None:
    """Read everything that a resumed run and its report read besides weights."""
    recipe, directory = load_recipe(recipe_path, [LIMIT]), RunDirectory(run)
    earlier_end(recipe)
    begin_log(run, "replica")[0].close()
    with held(directory):
        claim(directory, recipe, resume=True)
        prepare_dataset(recipe, run)
        read_base_record(directory.base_record, REMEDIES[BASE_RECORD])
        forget_results_after(directory, 4)
        write_report(run)


def test_an_undamaged_directory_is_read(recipe: Path, run: Path) -> None:
    read_all(recipe, run)


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(recipe: Path, run: Path, name: str, damage: str) -> None:
    DAMAGES[damage](run / name)
    if (name, damage) in HARMLESS:
        read_all(recipe, run)
        return
    with pytest.raises(Phi3kError) as raised:
        read_all(recipe, run)
    assert raised.value.exit_code in (MissingInputError.exit_code, RecipeError.exit_code)
    assert str(run / name) in str(raised.value)
    assert REMEDIES[name.partition("/")[0]] in str(raised.value)


@pytest.mark.parametrize("name", ["finished.json", "report.html", "lock"])
@pytest.mark.parametrize("damage", ["a directory", "a FIFO", "a device", "a loop"])
def test_what_is_only_written_is_not_waited_for(recipe: Path, run: Path, name: str, damage: str) -> None:
    DAMAGES[damage](run / name)
    with pytest.raises(Phi3kError) as raised:
        read_all(recipe, run)
    assert str(run) in str(raised.value)


@pytest.mark.parametrize("name", ["checkpoints", "predictions", "logs"])
def test_a_file_in_the_place_of_a_folder_is_named_before_anything_is_trained(
    recipe: Path, run: Path, name: str
) -> None:
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).write_text("in the way")
    with pytest.raises(MissingInputError, match=rf"{name} can't be used: not a directory"):
        read_all(recipe, run)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_of_an_earlier_attempt_counts_as_one_without_a_word(run: Path, damage: str) -> None:
    log, _ = begin_log(run, "pod")
    log.close()
    DAMAGES[damage](log.path)
    new, before = begin_log(run, "pod")
    new.close()
    assert [(attempt.number, attempt.outcome) for attempt in before] == [(1, None)]
    assert new.path.name == "pod-2.log"


@pytest.mark.parametrize("field", [{"unheard_of": 1}, {"step": "four"}, {"recent_losses": [None]}, {"step": 7}])
def test_a_state_of_another_version_is_named(recipe: Path, run: Path, field: dict[str, object]) -> None:
    newest = small_runs.checkpoints(run)[-1]
    state = json.loads((newest / "state.json").read_text()) | field
    (newest / "state.json").write_text(json.dumps(state))
    manifest = json.loads((newest / "MANIFEST.json").read_text())
    manifest["state.json"] = asdict(write_bytes(newest / "state.json", iter([json.dumps(state).encode()])))
    (newest / "MANIFEST.json").write_text(json.dumps(manifest))
    log = recipe.parent / "log.txt"
    assert small_runs.wait(small_runs.start(recipe, LIMIT, resume=True, log=log)) == [MissingInputError.exit_code]
    assert f"{newest / 'state.json'} can't be used" in log.read_text()


@pytest.mark.parametrize(
    "listed",
    [
        {"state.json": {"sha256": "0" * 64, "num_bytes": "12"}},
        {"state.json": {"sha256": 1, "num_bytes": 12}},
        {"state.json": {"sha256": "0" * 64, "num_bytes": 12, "mode": 1}},
        {"state.json": None},
        {"a\0b": {"sha256": "0" * 64, "num_bytes": 12}},
        {"pipe.json": {"sha256": "0" * 64, "num_bytes": 0}},
        {"/dev/zero": {"sha256": "0" * 64, "num_bytes": 0}},
        {"../../recipe.yaml": {"sha256": "0" * 64, "num_bytes": 0}},
        {"zero.json": {"sha256": "0" * 64, "num_bytes": 0}},
        [],
        {},
        7,
    ],
    ids=str,
)
def test_a_manifest_that_names_what_it_may_not_is_damage(run: Path, listed: object) -> None:
    newest = small_runs.checkpoints(run)[-1]
    os.mkfifo(newest / "pipe.json")
    (newest / "zero.json").symlink_to("/dev/zero")
    (newest / "MANIFEST.json").write_text(json.dumps(listed))
    assert find_damage(newest) is not None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_damage(run: Path, damage: str) -> None:
    newest = small_runs.checkpoints(run)[-1]
    DAMAGES[damage](newest / "MANIFEST.json")
    assert find_damage(newest) is not None


def test_stray_names_stop_nothing_and_stay(run: Path, tmp_path: Path) -> None:
    checkpoints = run / "checkpoints"
    kept = [path.name for path in small_runs.checkpoints(run)]
    (tmp_path / "thesis.txt").write_text("chapter one")
    (checkpoints / ".partial-x").write_text("")
    (checkpoints / ".partial-y").symlink_to(tmp_path)
    (checkpoints / ".replaced-z").mkdir()
    (checkpoints / ".partial-step-000009").symlink_to(tmp_path)
    (checkpoints / ".partial-step-000008").write_text("")
    (checkpoints / ".replaced-step-000004").write_text("")
    clean_up(checkpoints)
    assert sorted(path.name for path in checkpoints.glob(".*")) == [".partial-x", ".partial-y", ".replaced-z"]
    assert [path.name for path in small_runs.checkpoints(run)] == kept
    assert (tmp_path / "thesis.txt").exists()
