"""Preparing data when servers fail, processes start together and the hub is away."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3k_trainer.data.dataset import Dataset, prepare_dataset
from phi3k_trainer.errors import DataError
from phi3k_trainer.recipe.recipe import Recipe
from tests.faults.hostile_server import HostileServer


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer().running() as running:
        yield running


def write_rows(path: Path, urls: list[str]) -> Path:
    path.write_text("".join(json.dumps({"title": f"Coat {n}", "image": url}) + "\n" for n, url in enumerate(urls)))
    return path


def recipe(cache: Path, **data: Any) -> Recipe:
    fetch = {"private_addresses": True, "attempts": 1, "timeout_seconds": 1.0, **data.pop("fetch", {})}
    section = {"cache": str(cache), "answer": "{title}", "eval_fraction": 0.0, "fetch": fetch, **data}
    return Recipe.model_validate({"apiVersion": "phi3k/v1", "name": "test", "model": {"base": "tiny"}, "data": section})


def prepare(cache: Path, path: Path, run: Path | None = None, *, retry: bool = False, **data: Any) -> Dataset:
    chosen = recipe(cache, source="jsonl", path=str(path), **data)
    return prepare_dataset(chosen, run, retry_failures=retry)


def test_failures_below_the_budget_are_set_aside_and_counted_by_reason(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"good/{number}") for number in range(8)] + [server.url("status/404"), server.url("page")]
    dataset = prepare(tmp_path / "cache", write_rows(tmp_path / "rows.jsonl", urls), tmp_path / "run", error_budget=0.2)
    assert len(dataset.train) == 8
    assert dataset.quarantine.counts == {"http_404": 1, "wrong_type": 1}
    lines = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert {line["location"] for line in lines} == {server.url("status/404"), server.url("page")}


def test_failures_above_the_budget_stop_the_run_with_counts_and_the_file(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url("good/0"), server.url("status/404"), server.url("status/500")]
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "cache", write_rows(tmp_path / "rows.jsonl", urls), tmp_path / "run")
    assert "2 of 3 rows" in str(caught.value)
    assert str(tmp_path / "run" / "quarantine.jsonl") in str(caught.value)


def test_a_new_run_tries_bad_luck_again_but_not_what_is_gone_for_good(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url("good/0"), server.url("status/404"), server.url("busy-once")]
    path = write_rows(tmp_path / "rows.jsonl", urls)
    first = prepare(tmp_path / "cache", path, error_budget=0.7)
    second = prepare(tmp_path / "cache", path, error_budget=0.7)
    assert (len(first.train), len(second.train)) == (1, 2)
    assert server.requests == {"good/0": 1, "status/404": 1, "busy-once": 2}


def test_asked_to_it_tries_everything_again(server: HostileServer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [server.url("good/0"), server.url("status/404")])
    prepare(tmp_path / "cache", path, error_budget=0.7)
    prepare(tmp_path / "cache", path, error_budget=0.7, retry=True)
    assert server.requests == {"good/0": 1, "status/404": 2}


def test_a_resumed_run_keeps_its_rows_even_if_more_could_be_had_now(server: HostileServer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [server.url("good/0"), server.url("busy-once")])
    first = prepare(tmp_path / "cache", path, tmp_path / "run", error_budget=0.7)
    assert prepare(tmp_path / "cache", path, tmp_path / "run", error_budget=0.7) == first
    assert server.requests["busy-once"] == 1


def test_a_larger_cap_on_bytes_asks_again_for_what_was_too_large(server: HostileServer, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [server.url("good/0")])
    with pytest.raises(DataError, match="too_many_bytes"):
        prepare(tmp_path / "cache", path, fetch={"max_bytes": 10})
    assert len(prepare(tmp_path / "cache", path).train) == 1


PROCESS = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.faults.test_preparing import recipe
from phi3k_trainer.data.dataset import prepare_dataset
states = []
chosen = recipe(Path(sys.argv[2]), source="jsonl", path=sys.argv[3], eval_fraction=0.2, error_budget=0.2)
dataset = prepare_dataset(chosen, Path(sys.argv[4]), states.append)
print(dataset.digest, [example.key for example in dataset.train], bool(states), sep="|")
"""


def test_processes_that_start_together_prepare_once_and_agree(server: HostileServer, tmp_path: Path) -> None:
    urls = [server.url(f"good/{number}") for number in range(30)] + [server.url("busy-once")]
    path = write_rows(tmp_path / "rows.jsonl", urls)
    arguments = [str(Path(__file__).parents[2]), str(tmp_path / "cache"), str(path), str(tmp_path / "run")]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=300)[0].strip().split("|") for process in processes]
    assert len({(digest, keys) for digest, keys, _ in said}) == 1
    assert sorted(prepared for _, _, prepared in said) == ["False", "False", "True"]
    assert set(server.requests.values()) == {1}


@pytest.mark.parametrize("source", ["hf", "dbq"])
def test_a_hub_that_cannot_be_reached_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from tests.faults.test_preparing import recipe\n"
        "from phi3k_trainer.data.dataset import prepare_dataset\n"
        "try: prepare_dataset(recipe(Path(sys.argv[2]), source=sys.argv[3], path='owner/set'), None)\n"
        "except Exception as error: print(error.exit_code, error)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2]), str(tmp_path), source]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
    assert said.startswith("69 the data set 'owner/set' can't be loaded from the hub")
