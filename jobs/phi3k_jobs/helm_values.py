"""The values with which charts/phi3k makes a recipe's objects."""

from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.render import objects, to_yaml
from phi3k_trainer.recipe import Recipe, dump_recipe, without_env


def helm_values(recipe: Recipe) -> str:
    """Return the values as YAML: the recipe in force, without `cluster.env`, which is a value of its own.

    Raises:
        RecipeError: the recipe asks for what its kind, GPUs or claims can't give.
    """
    objects(recipe)
    namespace = f" --namespace {recipe.cluster.namespace}" if recipe.cluster.namespace else ""
    values: Manifest = {"recipe": dump_recipe(without_env(recipe))}
    if recipe.cluster.env:
        values["env"] = dict(sorted(recipe.cluster.env.items()))
    return f"# helm install {recipe.name} charts/phi3k{namespace} --values FILE\n" + to_yaml([values])
