"""The values with which charts/phi3k makes a recipe's objects."""

from phi3k_jobs.render import objects, to_yaml
from phi3k_trainer.recipe import Recipe, dump_recipe


def helm_values(recipe: Recipe) -> str:
    """Return the values as YAML: the recipe in force alone, since its section `cluster` says all the rest.

    Raises:
        RecipeError: the recipe asks for what its kind, GPUs or claims can't give.
    """
    objects(recipe)
    namespace = f" --namespace {recipe.cluster.namespace}" if recipe.cluster.namespace else ""
    return f"# helm install {recipe.name} charts/phi3k{namespace} --values FILE\n" + to_yaml(
        [{"recipe": dump_recipe(recipe)}]
    )
