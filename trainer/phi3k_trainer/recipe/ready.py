"""The ready recipes that come with phi3k."""

from pathlib import Path

from phi3k_trainer.errors import MissingInputError


def _directory() -> Path:
    """An installed package carries the recipes inside itself; a checkout has them at its top."""
    installed = Path(__file__).parent / "ready"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "recipes"


def ready_recipes() -> tuple[str, ...]:
    """Names of the ready recipes, sorted."""
    return tuple(sorted(path.stem for path in _directory().glob("*.yaml")))


def ready_recipe(name: str) -> Path:
    """The file of a ready recipe. Raises MissingInputError, which lists those there are."""
    path = _directory() / f"{name}.yaml"
    if name not in ready_recipes():
        raise MissingInputError(f"there is no ready recipe '{name}'; the ready ones are: {', '.join(ready_recipes())}")
    return path
