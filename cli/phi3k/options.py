"""Arguments and options that several verbs share."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Origins, Recipe


class Output(StrEnum):
    """How a verb prints its result."""

    TEXT = "text"
    JSON = "json"


RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a ready one (see `phi3k recipe list`).")
]
RunDirectoryArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's directory, such as runs/demo, or one of its checkpoints.")
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        "-s",
        metavar="A.B=VALUE",
        help="Override one field; may be repeated.",
        default_factory=list,
        show_default=False,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="`json` prints one JSON document on stdout.")]


def read_recipe(reference: str, overrides: list[str]) -> "Recipe":
    """Load the recipe in a file, or the ready one of that name where there is no such file, over the defaults.

    Raises:
        MissingInputError: it is neither of them, or a directory such as a run's.
        RecipeError: the recipe, or a file of defaults, is wrong.
    """
    return trace(reference, overrides)[0]


def trace(reference: str, overrides: list[str], options: Mapping[str, str] | None = None) -> "tuple[Recipe, Origins]":
    """Load a recipe as `read_recipe` does, and say where each value comes from; `options` outweigh `overrides`."""
    from phi3k.defaults import defaults_files, name_own_server, note_project_file
    from phi3k_trainer.recipe import Layer, read_recipe_text, trace_recipe

    path = _recipe_file(reference)
    written = Layer(str(path), read_recipe_text(path))
    files = defaults_files(Path.cwd())
    defaults = [(file, file.read()) for file in files]
    recipe, origins = trace_recipe(
        written, overrides=overrides, options=options, defaults=[layer for _, layer in defaults]
    )
    for file, layer in defaults:
        if file.is_own:
            name_own_server(recipe, layer)
        else:
            note_project_file(file)
    return recipe, origins


def _recipe_file(reference: str) -> Path:
    from phi3k_trainer.errors import MissingInputError
    from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

    path = Path(reference).expanduser()
    if path.is_dir():
        run = path / "recipe.yaml"
        hint = f"it is a run, whose recipe is {run}" if run.is_file() else "name a recipe file"
        raise MissingInputError(f"{reference} is a directory, not a recipe: {hint}")
    if path.exists():
        return path
    if reference not in ready_recipes():
        raise MissingInputError(
            f"there is no recipe file {reference}, and no ready recipe of that name; "
            f"the ready ones are: {', '.join(ready_recipes())}"
        )
    return ready_recipe(reference)
