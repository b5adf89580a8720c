"""`phi3k data push`."""

import shlex
from typing import TYPE_CHECKING

from phi3k.cluster_options import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    open_cluster,
    read_placed_recipe,
)
from phi3k.moving import progress_of_files
from phi3k.options import Output, OutputOption, RecipeArgument, SetOption
from phi3k.printing import megabytes, print_json, say
from phi3k.run_following import notice, tell

if TYPE_CHECKING:
    from phi3k_trainer.data.local_files import LocalFiles


def push(
    recipe: RecipeArgument,
    overrides: SetOption,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Copy a recipe's local data to the cluster's cache claim: its table and the pictures that its rows name.

    Files that are already there are not sent again. The same command continues an interrupted push.

    Example: phi3k data push own.yaml
    """
    from phi3k_jobs.transfer.push import names_below, push
    from phi3k_jobs.transfer.visit import Callbacks
    from phi3k_trainer.data.local_files import local_files

    placed = read_placed_recipe(recipe, overrides, namespace=namespace)
    found = local_files(placed.data)
    cluster = open_cluster(context, placed.cluster.namespace, kubeconfig)
    # The table comes last: as long as it is not there, nothing trains on half of the pictures.
    files = names_below(found.base, [*found.pictures, *found.sources])
    callbacks = Callbacks(tell=tell, notice=notice, show=lambda line: say(line.text, err=True))
    with progress_of_files("push") as begin:
        try:
            pushed = push(cluster, placed, files, callbacks=callbacks, begin=begin)
        except KeyboardInterrupt:
            say("what has arrived is kept, and the same command continues", err=True)
            raise
    settings = _settings(found, pushed.folder)
    if output is Output.JSON:
        print_json({**vars(pushed), "set": settings, "missing": found.missing, "addresses": found.addresses})
        return
    size, sent = megabytes(pushed.size), megabytes(pushed.sent)
    say(f"{pushed.folder} on claim {placed.cluster.cache.claim} has {pushed.files:,} files, {size}; {sent} sent now")
    if pushed.removed:
        say(f"{pushed.removed:,} files of an earlier push are removed")
    if found.missing:
        say(f"{found.missing:,} pictures that rows name are not on this machine: their rows will be set aside")
    if found.addresses:
        say(f"{found.addresses:,} pictures are named by an address: the run fetches them itself")
    command = ["phi3k", "submit", recipe, *(part for setting in settings for part in ("--set", setting))]
    say(f"Train with: {shlex.join(command)}")


def _settings(found: "LocalFiles", folder: str) -> list[str]:
    """The settings with which a recipe reads the pushed data."""
    places = {"data.path": found.path, "data.image_root": found.image_root}
    return [
        f"{field}={folder}/{path.relative_to(found.base)}".removesuffix("/.")
        for field, path in places.items()
        if path is not None
    ]
