"""The ready recipes: each loads, is commented, and is planned."""

import json

import pytest

from phi3k_trainer.errors import MissingInputError
from phi3k_trainer.planning import GPUS, choose_layout, find_gpu, plan, shape_of
from phi3k_trainer.recipe import dump_recipe, load_recipe, parse_recipe
from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

EXPECTED = {
    "burberry-full-8gpu",
    "burberry-lora",
    "burberry-qlora",
    "demo",
    "emoji",
    "multi-node",
    "own-images",
}

NEEDS = {
    "burberry-full-8gpu": ("A100-40GB", 8),
    "burberry-lora": ("L4", 1),
    "burberry-qlora": ("RTX-3090", 1),
    "multi-node": ("A100-40GB", 16),
    "own-images": ("L4", 1),
}
"""GPU and number on which a recipe's own comments promise that it runs."""


def test_the_promised_recipes_are_there() -> None:
    assert set(ready_recipes()) >= EXPECTED


@pytest.mark.parametrize("name", ready_recipes())
def test_a_ready_recipe_loads_under_its_own_name_and_reads_back(name: str) -> None:
    recipe = load_recipe(ready_recipe(name))
    assert recipe.name == name
    assert parse_recipe(dump_recipe(recipe)) == recipe


@pytest.mark.parametrize("name", ready_recipes())
def test_a_ready_recipe_begins_with_what_it_is_for(name: str) -> None:
    first = ready_recipe(name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) <= 120


@pytest.mark.parametrize("name", [name for name in ready_recipes() if name in NEEDS])
def test_a_ready_recipe_fits_where_it_says(name: str) -> None:
    gpu, count = NEEDS[name]
    recipe = load_recipe(ready_recipe(name))
    memory = find_gpu(gpu).memory_bytes
    assert choose_layout(recipe, shape_of(recipe), memory, count).memory.total <= memory


@pytest.mark.parametrize("name", ready_recipes())
def test_a_ready_recipe_is_planned_without_a_download(name: str) -> None:
    recipe = load_recipe(ready_recipe(name))
    tunes_an_export = recipe.model.base.startswith("runs/")  # its shape is the one that the demo has written
    planned = plan(recipe, shape_of(load_recipe(ready_recipe("demo")) if tunes_an_export else recipe))
    assert len(planned.layout) == len(GPUS)
    assert any(gpu.fits for gpu in planned.layout)
    json.dumps(planned.as_json())


def test_an_unknown_name_lists_the_ready_ones() -> None:
    with pytest.raises(MissingInputError, match="burberry-lora"):
        ready_recipe("nope")
