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
    """Load the recipe in a file, or the ready one of that name where there is no such file.

    Raises:
        MissingInputError: it is neither of them, or a directory such as a run's.
        RecipeError: the recipe is wrong.
    """
    from phi3k_trainer.errors import MissingInputError
    from phi3k_trainer.recipe import load_recipe
    from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

    path = Path(reference).expanduser()
    if path.is_dir():
        run = path / "recipe.yaml"
        hint = f"it is a run, whose recipe is {run}" if run.is_file() else "name a recipe file"
        raise MissingInputError(f"{reference} is a directory, not a recipe: {hint}")
    if not path.exists():
        if reference not in ready_recipes():
            raise MissingInputError(
                f"there is no recipe file {reference}, and no ready recipe of that name; "
                f"the ready ones are: {', '.join(ready_recipes())}"
            )
        path = ready_recipe(reference)
    return load_recipe(path, overrides)
