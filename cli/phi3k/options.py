"""Arguments and options that several verbs share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe


class Output(StrEnum):
    """How a verb prints its result."""

    TEXT = "text"
    JSON = "json"


RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a ready one (see `phi3k recipe list`).")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's directory, such as runs/demo, or one of its checkpoints.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", "-s", metavar="A.B=VALUE", help="Override one field; may be repeated.", default_factory=list),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="`json` prints one JSON document on stdout.")]


def read_recipe(reference: str, overrides: list[str]) -> "Recipe":
    """Load the recipe in a file, or the ready one of that name where there is no such file."""
    from phi3k_trainer.recipe import load_recipe
    from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

    path = Path(reference).expanduser()
    if not path.exists() and reference in ready_recipes():
        path = ready_recipe(reference)
    return load_recipe(path, overrides)
