"""`phi3k submit`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phi3k.cluster_options import (
    DEFAULT_RECIPE,
    ContextOption,
    GpusOption,
    KindOption,
    KubeconfigOption,
    NameOption,
    NamespaceOption,
    open_cluster,
    read_placed_recipe,
)
from phi3k.options import Output, OutputOption, RecipeArgument, SetOption
from phi3k.printing import print_json, say
from phi3k.run_following import ended_as_json, follow_to_the_end, wait_for_the_end

if TYPE_CHECKING:
    from phi3k_jobs.submit.submission import Submission
    from phi3k_trainer.recipe import Recipe

PUBLIC_WANDB = "https://wandb.ai"


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(submit)


def submit(
    overrides: SetOption,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    gpus: GpusOption = None,
    kind: KindOption = None,
    name: NameOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make all checks, also on the cluster, and send nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit with the trainer's code.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Like --wait, and stream the logs.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a recipe on a Kubernetes cluster: check both, dry-run every object there, then create them.

    Submitting the same recipe and name again changes nothing; a run that has failed resumes from its last checkpoint.

    Examples:
    phi3k submit --gpus 8

    phi3k submit own.yaml --gpus 16 --name sweep-3 --set training.learning_rate=1e-4 --follow

    phi3k submit demo --gpus 0 --kind job --dry-run
    """
    placed = read_placed_recipe(recipe, overrides, gpus=gpus, kind=kind, name=name, namespace=namespace)
    cluster = open_cluster(context, placed.cluster.namespace, kubeconfig)
    from phi3k_jobs.submit.submission import submit as submit_run

    submission = submit_run(cluster, placed, dry_run=dry_run)
    document: dict[str, Any] = {**asdict(submission), "dry_run": dry_run, "wandb": wandb_address(placed, submission)}
    if output is Output.TEXT:
        _print_submission(placed, submission, dry_run=dry_run)
    if (wait or follow) and not dry_run:
        to_the_end = follow_to_the_end if follow else wait_for_the_end
        ended = to_the_end(cluster, submission.name)
        if output is Output.JSON:
            print_json(document | ended_as_json(ended))
        raise typer.Exit(ended_as_json(ended)["exit_code"])
    if output is Output.JSON:
        print_json(document)


def _print_submission(recipe: "Recipe", submission: "Submission", *, dry_run: bool) -> None:
    for note in submission.notes:
        say(f"note: {note}", err=True)
    where = f"as a {submission.kind} in namespace {submission.namespace}"
    if dry_run:
        say(f"{submission.name} would run {where}; nothing was sent.")
        return
    if submission.created:
        say(f"{submission.name} runs {where}.")
    say(f"  follow:  phi3k logs -f {submission.name}")
    say(f"  state:   phi3k status {submission.name}")
    if address := wandb_address(recipe, submission):
        say(f"  W&B:     {address}")


def wandb_address(recipe: "Recipe", submission: "Submission") -> str | None:
    """Where the run's page will be; without an entity the account's default has to be filled in."""
    section = recipe.tracking.wandb
    if section.mode == "off":
        return None
    server = (section.base_url or PUBLIC_WANDB).rstrip("/")
    return f"{server}/{section.entity or '<entity>'}/{section.project}/runs/{submission.wandb_run_id}"
