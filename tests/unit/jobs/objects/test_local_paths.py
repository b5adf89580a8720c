"""What lies on this machine is refused before anything is sent; what lies on a claim, or on the hub, is not."""

from pathlib import Path

import pytest

from phi3k.main import main
from phi3k_jobs.objects.local_paths import local_paths, refuse_local_paths
from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes


def unseen(*overrides: str) -> list[str]:
    return local_paths(load_recipe(ready_recipe("own-images"), list(overrides)))


@pytest.mark.parametrize(
    "override",
    [
        "data.path=data/own/products.csv",
        "data.path=~/products.csv",
        "data.path=/home/ann/products.csv",
        "data.path=/cache/../home/ann/products.csv",
        "data={source: imagefolder, path: pictures, answer: '{label}'}",
        "data={source: hf, path: ./saved, answer: '{a}'}",
        "data={source: hf, path: /home/ann/saved, answer: '{a}'}",
        "data={source: dbq, path: prices.parquet, answer: '{a}'}",
    ],
)
def test_a_path_of_this_machine_is_named_with_the_way_onto_a_claim(override: str) -> None:
    (sentence,) = unseen(override)
    assert sentence.startswith("data.path is ")
    assert "not in the cluster" in sentence
    assert "phi3k data push RECIPE" in sentence


def test_a_model_and_pictures_of_this_machine_are_named_too(tmp_path: Path) -> None:
    found = unseen("data.path=/cache/products.csv", f"model.base={tmp_path}", "data.image_root=pictures")
    assert [sentence.partition(" ")[0] for sentence in found] == ["data.image_root", "model.base"]


@pytest.mark.parametrize(
    "override",
    [
        "data.path=/cache/own/products.csv",
        "data.path=/runs/products.csv",
        "data={source: hf, path: owner/name, answer: '{a}'}",
        "data={source: sample, answer: '{title}'}",
        "cluster.image=registry.example/own:1",
    ],
)
def test_what_the_pod_sees_is_let_through(override: str) -> None:
    path = ["data.path=/data/baked-in.csv"] if override.startswith("cluster") else []
    assert unseen(override, *path) == []


def test_only_the_ready_recipes_with_data_of_ones_own_are_refused() -> None:
    refused = [name for name in ready_recipes() if local_paths(load_recipe(ready_recipe(name)))]
    assert refused == ["emoji", "own-images"]


def test_the_refusal_has_the_code_that_the_pod_would_end_with() -> None:
    with pytest.raises(MissingInputError, match=r"data/own/products\.csv, which is not in the cluster"):
        refuse_local_paths(load_recipe(ready_recipe("own-images")))


def test_render_notes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "own-images"]) == 0
    assert "note: data.path is data/own/products.csv, which is not in the cluster" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["s3://bucket/x.parquet", "gs://b/x", "abfs://c@a/x", "hf://datasets/o/n/x.csv"])
@pytest.mark.parametrize("field", ["data.path", "data.image_root", "model.base"])
def test_an_address_is_seen_by_the_pod(field: str, address: str) -> None:
    named = {"data.path": "s3://b/a.csv", "data.image_root": "s3://b", "model.base": "s3://b/base", field: address}
    recipe = load_recipe(ready_recipe("own-images"), [f"{key}={value}" for key, value in named.items()])
    assert local_paths(recipe) == []
