"""`phi3k list`, `status`, `wait`, `cancel`, `suspend` and `resume`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phi3k.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunNameArgument, open_cluster
from phi3k.options import Output, OutputOption
from phi3k.printing import duration, print_json, say
from phi3k.run_following import ended_as_json, wait_for_the_end
from phi3k_trainer.errors import UsageError

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_jobs.runs import Run


def register(app: typer.Typer, panel: str) -> None:
    """Add the verbs to the command, under the heading `panel` of its help."""
    app.command(name="list", rich_help_panel=panel)(list_all)
    for verb in (status, wait, cancel, suspend, resume):
        app.command(rich_help_panel=panel)(verb)


def list_all(
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the runs of a namespace, the newest first.

    Example: phi3k list --namespace team-a --output json
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    from phi3k_jobs.runs import list_runs

    runs = sorted(list_runs(cluster), key=lambda run: run.created, reverse=True)
    if output is Output.JSON:
        print_json([_as_json(run) for run in runs])
    elif not runs:
        say(f"there are no runs in namespace {cluster.namespace}", err=True)
    else:
        rows = [(run.name, run.kind, run.state, duration(_age(run))) for run in runs]
        say(_columns([("RUN", "KIND", "STATE", "AGE"), *rows]))


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as plain text: to draw a table of thousands takes longer than to ask the cluster."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _as_json(run: "Run") -> dict[str, Any]:
    fields = ("name", "kind", "state", "created", "wandb_run_id")
    return {field: getattr(run, field) for field in fields}


def _age(run: "Run") -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(run.created)).total_seconds()


def status(
    run: RunNameArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the state of a run and its cause: what it waits for, its progress, or what ended it, and what to do.

    Example: phi3k status burberry-lora
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    from phi3k_jobs.runs import find_run
    from phi3k_jobs.watch.status import run_status

    found = find_run(cluster, run)
    now = run_status(cluster, found)
    diagnosis, progress, earlier = now.diagnosis, now.progress, now.earlier
    if output is Output.JSON:
        more = {"progress": asdict(progress) if progress else None, "earlier": asdict(earlier) if earlier else None}
        print_json(_as_json(found) | asdict(diagnosis) | {"nodes": found.nodes} | more)
        return
    say(f"{found.name}: {diagnosis.state}, {diagnosis.cause}")
    if earlier:
        say(f"  before: {earlier.message}")
    if progress:
        say(f"  step {progress.step} of {progress.total_steps}, loss {progress.loss:.4f}, ETA {progress.remaining}")
    if diagnosis.checkpoint:
        say(f"  last checkpoint: {diagnosis.checkpoint}")
    if diagnosis.action:
        say(f"  what to do: {diagnosis.action}")
    say(f"  {found.kind} with {found.nodes} node(s) in namespace {cluster.namespace}, {duration(_age(found))} old")


def wait(
    run: RunNameArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Wait for the end of a run and exit with 0, or with the trainer's own code (143: preempted).

    Example: phi3k wait burberry-lora && phi3k logs burberry-lora
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    ended = ended_as_json(wait_for_the_end(cluster, run))
    if output is Output.JSON:
        print_json({"name": run, **ended})
    raise typer.Exit(ended["exit_code"])


def cancel(
    run: RunNameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """End a run and remove its objects from the cluster; its checkpoints stay.

    Example: phi3k cancel burberry-lora --yes
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    from phi3k_jobs.runs import cancel as end
    from phi3k_jobs.runs import find_run, runs_claim

    found = find_run(cluster, run)
    if not yes:
        typer.confirm(f"Cancel the run {run} ({found.state}) in namespace {cluster.namespace}?", abort=True, err=True)
    claim = runs_claim(cluster, found)
    end(cluster, found)
    say(f"{run} is cancelled")
    if claim:
        say(
            f"Its checkpoints stay in the claim {claim}, in {run}/checkpoints: submitting the same recipe under the "
            "same name continues from them."
        )


def suspend(
    run: RunNameArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Save a run and free its GPUs until `phi3k resume`.

    Example: phi3k suspend burberry-lora
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    _set_suspended(cluster, run, suspended=True)
    say(f"{run} saves and frees its GPUs; `phi3k resume {run}` continues it from there")


def resume(
    run: RunNameArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Continue a suspended run from its last checkpoint.

    Example: phi3k resume burberry-lora
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    _set_suspended(cluster, run, suspended=False)
    say(f"{run} continues from its last checkpoint as soon as there is room for its pods")


def _set_suspended(cluster: "Cluster", name: str, *, suspended: bool) -> None:
    from phi3k_jobs.runs import FINISHED, find_run, set_suspended
    from phi3k_jobs.watch.diagnosis import diagnose
    from phi3k_jobs.watch.facts import gather

    run = find_run(cluster, name)
    if run.state in FINISHED:
        raise UsageError(f"{name} has {run.state.lower()}: there is nothing to suspend or resume")
    # The job of a run that waits in a queue is suspended too.
    state = diagnose(gather(cluster, run)).state
    if suspended == (state == "Suspended"):
        raise UsageError(f"{name} is {state} already" if suspended else f"{name} is not suspended: it is {state}")
    set_suspended(cluster, run, suspended=suspended)
