"""The process that fills, lists and frees the cache, on real directories and the demo's own data."""

import json
from pathlib import Path

import pytest

from phi3k_jobs.caching import cache_objects, warm_arguments
from phi3k_trainer.cache import main
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a model of 3,000 bytes and 10 bytes of data."""
    model = tmp_path / "huggingface/hub/models--microsoft--Phi-3-vision-128k-instruct/blobs"
    model.mkdir(parents=True)
    (model / "a").write_bytes(bytes(3000))
    (model.parent / "snapshot").symlink_to(model / "a")
    (tmp_path / "phi3k/store").mkdir(parents=True)
    (tmp_path / "phi3k/store/b").write_bytes(bytes(10))
    return tmp_path


def last_line(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_entries_are_named_as_on_the_hub_and_the_largest_comes_first(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(cache)]) == 0
    names = [entry["name"] for entry in last_line(capsys)]
    assert names == ["model/microsoft/Phi-3-vision-128k-instruct", "data/store"]


def test_a_removed_entry_is_gone_and_the_rest_stays(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", str(cache), "model/microsoft/Phi-3-vision-128k-instruct"]) == 0
    assert last_line(capsys)["size_bytes"] >= 3000
    main(["list", str(cache)])
    assert [entry["name"] for entry in last_line(capsys)] == ["data/store"]


@pytest.mark.parametrize("name", ["model/none", "../secret", "data/..", ""])
def test_what_is_no_entry_is_refused_by_name(cache: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["remove", str(cache), name]) == 66
    assert "it has: model/microsoft/Phi-3-vision-128k-instruct, data/store" in capsys.readouterr().err
    assert (cache / "phi3k/store/b").exists()


def test_warming_prepares_the_recipes_data_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ready_recipe("demo"))
    arguments = ["warm", recipe, "--set", f"data.cache={tmp_path}/phi3k", "--set", "data.sample.rows=60"]
    assert main(arguments) == 0
    first = last_line(capsys)
    assert first["train"] + first["evaluation"] == 60
    assert first["model"] is None
    assert main(arguments) == 0
    assert last_line(capsys)["digest"] == first["digest"]
    assert {entry.name for entry in (tmp_path / "phi3k").iterdir()} >= {"prepared", "store"}


def test_a_model_that_is_not_there_fails_before_any_gpu_is_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"data.cache={tmp_path}/phi3k", "data.sample.rows=60", "model.base=/nowhere"]
    arguments = [argument for override in sets for argument in ("--set", override)]
    assert main(["warm", str(ready_recipe("demo")), *arguments]) == 66
    assert "/nowhere" in capsys.readouterr().err


def test_the_job_asks_for_no_gpu_and_mounts_no_token() -> None:
    recipe = load_recipe(ready_recipe("burberry-lora"))
    config_map, job = cache_objects(recipe, warm_arguments())
    pod = job["spec"]["template"]["spec"]
    assert recipe.cluster.gpus > 0
    assert not [name for name in pod["containers"][0]["resources"]["limits"] if "gpu" in name]
    assert pod["automountServiceAccountToken"] is False
    assert config_map["metadata"]["name"] == job["metadata"]["name"] == "burberry-lora-cache-warm"
