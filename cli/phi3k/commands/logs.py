"""`phi3k logs`."""

from typing import Annotated

import typer

from phi3k.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunNameArgument, open_cluster
from phi3k.run_following import line_printer, notice, tell


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(logs)


def logs(
    run: RunNameArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow until the run ends, through waiting and restarts.")
    ] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Show the log from before the last crash.")
    ] = False,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="Only this replica; default: all.")] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Print the log of a run: of every replica; if there are several, each line begins with its replica.

    Examples:
    phi3k logs -f burberry-lora

    phi3k logs burberry-lora --rank 3 --previous
    """
    cluster = open_cluster(context, namespace, kubeconfig)
    from phi3k_jobs.runs import find_run
    from phi3k_jobs.watch.following import follow_logs
    from phi3k_jobs.watch.logs import read_logs
    from phi3k_trainer.errors import UsageError

    if follow and previous:
        raise UsageError("--follow and --previous exclude each other: the log before the crash has ended")
    found = find_run(cluster, run)
    show = line_printer(found)
    if follow:
        lines = follow_logs(cluster, found, tell=tell, notice=notice, rank=rank)
    else:
        lines = read_logs(cluster, found, rank=rank, previous=previous)
    for line in lines:
        show(line)
