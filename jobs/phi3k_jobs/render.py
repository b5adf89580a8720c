"""From a recipe to every object of its run. No cluster is contacted: the same recipe gives the same bytes."""

import json
from collections.abc import Sequence

import yaml

from phi3k_jobs.kinds import DEFAULT_KIND, KINDS
from phi3k_jobs.objects import around
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RECIPE_ANNOTATION, WANDB_ANNOTATION
from phi3k_trainer.contract import KindName
from phi3k_trainer.recipe import Recipe, recipe_sha256
from phi3k_trainer.recipe.yaml_reader import GO_SCALARS


def kind_of(recipe: Recipe) -> KindName:
    """Return the recipe's kind; without a cluster, `auto` is the kind that every cluster has."""
    return DEFAULT_KIND if recipe.cluster.kind == "auto" else recipe.cluster.kind


def objects(recipe: Recipe, *, kind: KindName | None = None, wandb_run_id: str | None = None) -> list[Manifest]:
    """Return the run's objects in the order they are applied: what the job needs, then the job.

    Raises:
        RecipeError: the recipe asks for what its kind, GPUs or claims can't give.
    """
    chosen = KINDS[kind or kind_of(recipe)]
    rendered = around.claims(recipe)
    if recipe.cluster.pod.service_account is None:
        rendered.append(around.service_account(recipe))
    rendered += chosen.render_early(recipe, wandb_run_id)
    rendered.append(around.config_map(recipe))
    if recipe.cluster.network_policy:
        rendered.append(around.network_policy(recipe))
    if recipe.cluster.disruption_budget:
        rendered.append(around.disruption_budget(recipe))
    if recipe.cluster.pod_monitor:
        rendered.append(around.pod_monitor(recipe))
    rendered += chosen.render(recipe, wandb_run_id)
    rendered[-1]["metadata"]["annotations"] = _annotations(recipe, wandb_run_id)
    if recipe.cluster.namespace:
        for entry in rendered:
            entry["metadata"]["namespace"] = recipe.cluster.namespace
    return rendered


def _annotations(recipe: Recipe, wandb_run_id: str | None) -> dict[str, str]:
    annotations = {**recipe.cluster.pod.annotations, RECIPE_ANNOTATION: recipe_sha256(recipe)}
    if wandb_run_id:
        annotations[WANDB_ANNOTATION] = wandb_run_id
    return annotations


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks and never uses aliases, so that people can read what is applied."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern, _first in GO_SCALARS:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def to_yaml(rendered: Sequence[Manifest]) -> str:
    """Return the objects as a YAML stream."""
    return yaml.dump_all(rendered, Dumper=_Dumper, sort_keys=False, width=1_000_000, explicit_start=True)


def to_json(rendered: Sequence[Manifest]) -> str:
    """Return the objects as one JSON List, which kubectl applies as well."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(rendered)}, indent=2) + "\n"
