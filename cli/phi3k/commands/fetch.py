"""`phi3k ls` and `phi3k fetch`: the files of a run on its claim."""

from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi3k.cluster_options import (
    DEFAULT_RECIPE,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    RunNameArgument,
    open_cluster,
    read_placed_recipe,
)
from phi3k.moving import progress_of_files
from phi3k.options import Output, OutputOption, SetOption
from phi3k.printing import megabytes, print_json, print_table, say
from phi3k.run_following import notice, tell

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_jobs.transfer.visit import Callbacks
    from phi3k_trainer.recipe import Recipe


class Part(StrEnum):
    """What can be fetched of a run."""

    REPORT = "report"
    EVALUATION = "evaluation"
    PREDICTIONS = "predictions"
    ADAPTER = "adapter"
    EXPORT = "export"
    CHECKPOINT = "checkpoint"
    LOGS = "logs"
    ALL = "all"


RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Recipe with the claim, image and placement; default: the run's, or the default if its job is gone.",
    ),
]


def register(app: typer.Typer, panel: str) -> None:
    """Add the verbs to the command, under the heading `panel` of its help."""
    app.command(name="ls", rich_help_panel=panel)(list_files)
    app.command(rich_help_panel=panel)(fetch)


def list_files(
    run: RunNameArgument,
    overrides: SetOption,
    recipe: RecipeOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the files of a run on its claim, even if its job and pods are gone.

    Example: phi3k ls burberry-lora
    """
    cluster, placed = _placed(run, recipe, overrides, namespace, context, kubeconfig)
    from phi3k_jobs.transfer import fetch as transfer
    from phi3k_jobs.transfer.parts import grouped

    found = transfer.list_files(cluster, placed, run, _callbacks())
    if output is Output.JSON:
        print_json({"files": [asdict(entry) for entry in found.files], "skipped": list(found.skipped)})
        return
    rows = [
        (group.name, group.part or "-", f"{group.files:,}", megabytes(group.size), _minute(group.changed))
        for group in grouped(found.files)
    ]
    print_table(("What", "Part", "Files", "Size", "Changed"), rows)
    _say_skipped(found.skipped)


def fetch(
    run: RunNameArgument,
    overrides: SetOption,
    part: Annotated[Part, typer.Argument(help="What to fetch; `checkpoint` is the newest one.")] = Part.REPORT,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder in which the folder RUN is created.")] = Path(
        "runs"
    ),
    recipe: RecipeOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Copy files of a run from its claim to this machine, and verify them; files already here are not sent again.

    The same command continues an interrupted fetch.

    Examples:
    phi3k fetch burberry-lora

    phi3k fetch burberry-lora checkpoint --to models
    """
    cluster, placed = _placed(run, recipe, overrides, namespace, context, kubeconfig)
    from phi3k_jobs.transfer import fetch as transfer

    with progress_of_files(f"{run} {part}") as begin:
        try:
            found = transfer.fetch(cluster, placed, run, part, to, callbacks=_callbacks(), begin=begin)
        except KeyboardInterrupt:
            say("what has arrived is kept, and the same command continues", err=True)
            raise
    if output is Output.JSON:
        print_json({**asdict(found), "folder": str(found.folder)})
        return
    arrived = "all of them were here" if not found.sent else f"{megabytes(found.sent)} sent now"
    say(f"{found.folder} has {part} of {run}: {found.files:,} files, {megabytes(found.size)}, verified; {arrived}")
    if found.grown:
        say(f"These files grew during the fetch: {', '.join(found.grown)}. Fetch again for the rest")
    _say_skipped(found.skipped)


def _placed(
    run: str,
    reference: str | None,
    overrides: list[str],
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> "tuple[Cluster, Recipe]":
    """The cluster, and the recipe that says where the run's claim is: the stated one, the run's own, or the default."""
    from phi3k_jobs.transfer.fetch import stored_recipe

    if reference is not None:
        placed = read_placed_recipe(reference, overrides, namespace=namespace)
        return open_cluster(context, placed.cluster.namespace, kubeconfig), placed
    cluster = open_cluster(context, namespace, kubeconfig)
    stored = stored_recipe(cluster, run, overrides)
    return cluster, stored or read_placed_recipe(DEFAULT_RECIPE, overrides, namespace=namespace)


def _callbacks() -> "Callbacks":
    from phi3k_jobs.transfer.visit import Callbacks

    return Callbacks(tell=tell, notice=notice, show=lambda line: say(line.text, err=True))


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _say_skipped(skipped: tuple[str, ...]) -> None:
    if skipped:
        say(f"Never fetched: {', '.join(skipped)}")
