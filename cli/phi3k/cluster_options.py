"""Options that the cluster's verbs share: the cluster, the namespace, and the size and placement of a run."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from phi3k_trainer.contract import KindName

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_trainer.recipe import Origins, Recipe

DEFAULT_RECIPE = "burberry-lora"


KindChoice = Literal["auto", KindName]
"""Kind of Kubernetes job; auto takes the best that the cluster has."""

ContextOption = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one.")
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="Kubeconfig; default: KUBECONFIG, ~/.kube/config or the pod's own."
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Namespace; default: the recipe's or the context's."),
]
GpusOption = Annotated[int | None, typer.Option("--gpus", min=0, help="Total number of GPUs; 0 trains on the CPU.")]
KindOption = Annotated[
    KindChoice | None, typer.Option("--kind", help="Kind of Kubernetes job; `auto` uses the best that the cluster has.")
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run.")]
RunNameArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run (see `phi3k list`).")]


def read_placed_recipe(
    reference: str,
    overrides: list[str],
    *,
    gpus: int | None = None,
    kind: KindChoice | None = None,
    name: str | None = None,
    namespace: str | None = None,
) -> "Recipe":
    """Load the recipe with the options that size and place it; these override `--set`."""
    return trace_placed_recipe(reference, overrides, gpus=gpus, kind=kind, name=name, namespace=namespace)[0]


def trace_placed_recipe(
    reference: str,
    overrides: list[str],
    *,
    gpus: int | None,
    kind: KindChoice | None,
    name: str | None,
    namespace: str | None,
) -> "tuple[Recipe, Origins]":
    """Load the recipe as `read_placed_recipe` does, and return where each value comes from."""
    from phi3k.options import trace

    given = {"gpus": ("cluster.gpus", gpus), "kind": ("cluster.kind", kind), "name": ("name", name)}
    given["namespace"] = ("cluster.namespace", namespace)
    options = {
        f"--{option} {value}": f"{field}={value}" for option, (field, value) in given.items() if value is not None
    }
    return trace(reference, overrides, options)


def open_cluster(context: str | None, namespace: str | None, kubeconfig: str | None) -> "Cluster":
    """Return the cluster that the options name."""
    from phi3k_jobs.api.connection import connect

    return connect(context=context, namespace=namespace, kubeconfig=kubeconfig)
