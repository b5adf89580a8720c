"""The recipe: typed sections, loading with line numbers and overrides, JSON schema. Imports pydantic and yaml only."""

from phi3k_trainer.recipe.layers import Layer, Origins
from phi3k_trainer.recipe.loading import (
    dump_recipe,
    load_recipe,
    override_recipe,
    parse_recipe,
    read_recipe_text,
    recipe_schema,
    recipe_sha256,
    trace_recipe,
    without_env,
)
from phi3k_trainer.recipe.recipe import Recipe

__all__ = [
    "Layer",
    "Origins",
    "Recipe",
    "dump_recipe",
    "load_recipe",
    "override_recipe",
    "parse_recipe",
    "read_recipe_text",
    "recipe_schema",
    "recipe_sha256",
    "trace_recipe",
    "without_env",
]
