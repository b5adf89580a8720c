"""`phi3k recipe`: what a recipe can contain, and what one does contain."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from phi3k.cluster_options import GpusOption, KindOption, NameOption, NamespaceOption, trace_placed_recipe
from phi3k.options import Output, OutputOption, RecipeArgument, SetOption, read_recipe
from phi3k.printing import print_json, print_table, say

app = typer.Typer(name="recipe", help="Check and show recipes.", no_args_is_help=True)


@app.command()
def check(
    recipe: RecipeArgument,
    overrides: SetOption,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check a recipe and list everything that is wrong with it, with line, key and nearest valid name.

    Examples:
    phi3k recipe check my-run.yaml

    phi3k recipe check demo --set training.seed=1
    """
    in_force = read_recipe(recipe, overrides)
    from phi3k_trainer.recipe import recipe_sha256

    digest = recipe_sha256(in_force)
    if output is Output.JSON:
        print_json({"name": in_force.name, "sha256": digest, "valid": True})
    else:
        say(f"{in_force.name}: valid (sha256 {digest[:12]})")


@app.command()
def show(
    recipe: RecipeArgument,
    overrides: SetOption,
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from: built in, FILE:LINE or an option.")
    ] = False,
    gpus: GpusOption = None,
    kind: KindOption = None,
    name: NameOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a recipe with every field that is in force, defaults and overrides included.

    Examples:
    phi3k recipe show burberry-lora --set training.epochs=2

    phi3k recipe show burberry-lora --origin --gpus 16
    """
    in_force, origins = trace_placed_recipe(recipe, overrides, gpus=gpus, kind=kind, name=name, namespace=namespace)
    values = in_force.model_dump(mode="json")
    if origin:
        rows = [(".".join(path), value, origins.of(path)) for path, value in _leaves(values)]
        if output is Output.JSON:
            print_json([{"field": field, "value": value, "origin": where} for field, value, where in rows])
        else:
            print_table(("Field", "Value", "From"), [(field, _flow(value), where) for field, value, where in rows])
        return
    if output is Output.JSON:
        print_json(values)
        return
    from phi3k_trainer.recipe import dump_recipe

    say(dump_recipe(in_force), nl=False)


def _leaves(values: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each value with its path; lists and empty mappings are values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _flow(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, with which editors complete and check them.

    Example: phi3k recipe schema > recipe.schema.json
    """
    from phi3k_trainer.recipe import recipe_schema

    print_json(recipe_schema())


@app.command()
def reference() -> None:
    """Print the reference of all fields in Markdown: it is docs/recipe.md."""
    from phi3k.reference import recipe_reference

    say(recipe_reference(), nl=False)


@app.command(name="list")
def list_recipes(
    output: OutputOption = Output.TEXT,
    paths: Annotated[bool, typer.Option("--paths", help="Show the files instead of what they do.")] = False,
) -> None:
    """List the ready recipes.

    Example: phi3k train "$(phi3k recipe list --output json | jq -r '.[0].path')"
    """
    from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

    rows = []
    for name in ready_recipes():
        path = ready_recipe(name)
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        rows.append({"name": name, "path": str(path), "about": first.removeprefix("#").strip()})
    if output is Output.JSON:
        print_json(rows)
    elif paths:
        print_table(("Recipe", "File"), [(row["name"], row["path"]) for row in rows])
    else:
        print_table(("Recipe", "About"), [(row["name"], row["about"]) for row in rows])
