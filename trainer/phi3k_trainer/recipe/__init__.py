"""The recipe: typed sections, loading with line numbers and overrides, JSON schema. Imports pydantic and yaml only."""

from phi3k_trainer.recipe.loading import (
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_schema,
    recipe_sha256,
    without_env,
)
from phi3k_trainer.recipe.recipe import Recipe

__all__ = ["Recipe", "dump_recipe", "load_recipe", "parse_recipe", "recipe_schema", "recipe_sha256", "without_env"]
