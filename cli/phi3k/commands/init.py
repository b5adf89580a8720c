"""`phi3k init`."""

from pathlib import Path
from typing import Annotated

import typer

from phi3k.printing import say
from phi3k_trainer.errors import OutputError
from phi3k_trainer.sources import SOURCES, SourceName, source_named


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(init)


def init(
    file: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.yaml"),
    source: Annotated[SourceName, typer.Option("--source", help="What kind of data you have.")] = SOURCES[0].name,
    path: Annotated[str | None, typer.Option("--path", help="File, directory or hub id of the data.")] = None,
    image: Annotated[str, typer.Option("--image", help="Column with the picture.")] = "image",
    answer: Annotated[
        str, typer.Option("--answer", help="What the model should answer: a template over the columns.")
    ] = "Title: {title}",
    name: Annotated[str, typer.Option("--name", help="Name of the run.")] = "my-run",
    base: Annotated[
        str, typer.Option("--base", help="Hub id or directory of the model to tune; `tiny` to try things.")
    ] = "microsoft/Phi-3.5-vision-instruct",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented recipe for your own data.

    Examples:
    phi3k init --source csv --path products.csv --image photo --answer "Product: {title}, Price: {price}"

    phi3k init own.yaml --source llava --path train.json --base tiny
    """
    from phi3k.starter import starter_recipe
    from phi3k_trainer.recipe import parse_recipe

    text = starter_recipe(source=source_named(source), path=path, image=image, answer=answer, name=name, base=base)
    parse_recipe(text, origin="the recipe that these options make")
    if file.exists() and not force:
        raise OutputError(f"{file} is already there: choose another name, or overwrite it with --force")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror}") from error
    say(f"{file} is written. Next: phi3k data check {file}; phi3k plan {file}; phi3k train {file}")
