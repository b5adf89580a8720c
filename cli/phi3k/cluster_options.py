"""What the cluster's verbs share: which cluster, which namespace, and where a run is placed and how large it is."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from phi3k_trainer.contract import KindName

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_trainer.recipe import Origins, Recipe

DEFAULT_RECIPE = "burberry-lora"


KindChoice = Literal["auto", KindName]
"""Which object carries the run; auto takes what the cluster has."""

ContextOption = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig; else the current one.")
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig; else KUBECONFIG, ~/.kube/config or the pod's own."),
]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Namespace; else the recipe's or context's.")
]
GpusOption = Annotated[int | None, typer.Option("--gpus", min=0, help="Total number of GPUs; 0 trains on the CPU.")]
KindOption = Annotated[KindChoice | None, typer.Option("--kind", help="The object that carries the run.")]
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
    """Load the recipe with what the options say of its place; they outweigh `--set`."""
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
    """Load the recipe as `read_placed_recipe` does, and say where each value comes from."""
    from phi3k.options import trace

    said = {"gpus": ("cluster.gpus", gpus), "kind": ("cluster.kind", kind), "name": ("name", name)}
    said["namespace"] = ("cluster.namespace", namespace)
    options = {
        f"--{option} {value}": f"{field}={value}" for option, (field, value) in said.items() if value is not None
    }
    return trace(reference, overrides, options)


def open_cluster(context: str | None, namespace: str | None, kubeconfig: str | None) -> "Cluster":
    """Return the cluster that the options name."""
    from phi3k_jobs.api.connection import connect

    return connect(context=context, namespace=namespace, kubeconfig=kubeconfig)
