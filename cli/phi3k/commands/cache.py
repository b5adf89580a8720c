"""`phi3k cache`: the claim with models and data that runs share."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from phi3k.cluster_options import (
    DEFAULT_RECIPE,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    open_cluster,
    read_placed_recipe,
)
from phi3k.options import Output, OutputOption, RecipeArgument, SetOption
from phi3k.printing import gibibytes, print_json, print_table, say
from phi3k.run_following import notice, tell

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

app = typer.Typer(
    name="cache", help="Fill, show and free the cluster's cache of models and data.", no_args_is_help=True
)


@app.command()
def warm(
    overrides: SetOption,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Fetch and verify the model and data of a recipe, in a Job without GPUs; runs then need no network for these.

    Example: phi3k cache warm burberry-lora
    """
    from phi3k_jobs.submit.cache import warm_arguments

    placed = read_placed_recipe(recipe, overrides, namespace=namespace)
    found = _run(placed, warm_arguments(), context, kubeconfig)
    if output is Output.JSON:
        print_json(found)
        return
    model = found["model"] or "made by the run"
    say(f"{found['train']:,} rows to train on, {found['evaluation']:,} held out; model: {model}")


@app.command(name="ls")
def list_entries(
    overrides: SetOption,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List what the cache claim of a recipe holds, the largest first.

    Example: phi3k cache ls
    """
    from phi3k_jobs.submit.cache import list_arguments

    found = _run(read_placed_recipe(recipe, overrides, namespace=namespace), list_arguments(), context, kubeconfig)
    if output is Output.JSON:
        print_json(found)
        return
    rows = [
        (entry["name"], gibibytes(entry["size_bytes"]), f"{datetime.fromtimestamp(entry['changed'], UTC):%Y-%m-%d}")
        for entry in found
    ]
    print_table(("Entry", "Size", "Changed"), rows)


@app.command(name="rm")
def remove(
    overrides: SetOption,
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="An entry as `phi3k cache ls` names it.")],
    recipe: RecipeArgument = DEFAULT_RECIPE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Remove one entry from the cache claim; a run that needs it fetches it again.

    Example: phi3k cache rm model/microsoft/Phi-3-vision-128k-instruct --yes
    """
    from phi3k_jobs.submit.cache import remove_arguments

    placed = read_placed_recipe(recipe, overrides, namespace=namespace)
    if not yes:
        typer.confirm(f"Remove {entry} from the claim {placed.cluster.cache.claim}?", abort=True, err=True)
    found = _run(placed, remove_arguments(entry), context, kubeconfig)
    say(f"{entry} is removed: {gibibytes(found['size_bytes'])} are free again")


def _run(recipe: "Recipe", arguments: list[str], context: str | None, kubeconfig: str | None) -> Any:
    from phi3k_jobs.submit.cache import run_in_cache

    cluster = open_cluster(context, recipe.cluster.namespace, kubeconfig)
    found = run_in_cache(
        cluster, recipe, arguments, show=lambda line: say(line.text, err=True), tell=tell, notice=notice
    )
    return cast(Any, found)
