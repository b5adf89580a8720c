"""`phi3k render`."""

from enum import StrEnum
from typing import Annotated

import typer

from phi3k.cluster_options import (
    DEFAULT_RECIPE,
    GpusOption,
    KindOption,
    NameOption,
    NamespaceOption,
    read_placed_recipe,
)
from phi3k.options import RecipeArgument, SetOption
from phi3k.printing import say
from phi3k.run_following import notice


class Form(StrEnum):
    """How manifests are written."""

    YAML = "yaml"
    JSON = "json"
    HELM_VALUES = "helm-values"


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to the command, under the heading `panel` of its help."""
    app.command(rich_help_panel=panel)(render)


def render(
    overrides: SetOption,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    gpus: GpusOption = None,
    kind: KindOption = None,
    name: NameOption = None,
    namespace: NamespaceOption = None,
    output: Annotated[
        Form, typer.Option("--output", "-o", help="yaml: a stream; json: one List; helm-values: for the chart.")
    ] = Form.YAML,
) -> None:
    """Print the Kubernetes objects of a run. No cluster is contacted, so `--kind auto` is a Job, as in the chart.

    Examples:
    phi3k render --gpus 8 | kubectl apply --server-side -f -

    phi3k render own.yaml --kind job --set cluster.queue=team-a --output json

    phi3k render own.yaml --output helm-values | helm install own charts/phi3k --values -
    """
    placed = read_placed_recipe(recipe, overrides, gpus=gpus, kind=kind, name=name, namespace=namespace)
    from phi3k_jobs.objects.local_paths import local_paths
    from phi3k_jobs.render import objects, to_json, to_yaml

    for sentence in local_paths(placed):
        notice(sentence)

    if output is Form.HELM_VALUES:
        from phi3k_jobs.helm_values import helm_values

        say(helm_values(placed), nl=False)
        return
    write = to_json if output is Form.JSON else to_yaml
    say(write(objects(placed)), nl=False)
