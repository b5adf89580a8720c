"""From text to a Recipe and back: every mistake at once, with its line, its dotted key and what to write instead."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phi3k_trainer.errors import MissingInputError, RecipeError
from phi3k_trainer.recipe.overrides import OverrideError, parse_override, set_value
from phi3k_trainer.recipe.problems import explain, place
from phi3k_trainer.recipe.recipe import Recipe
from phi3k_trainer.recipe.yaml_reader import GO_SCALARS, STRING, Document, KeyPath, read_yaml
from phi3k_trainer.terminal import escaped_line


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, with `--set` overrides (`a.b=value`) on top.

    Raises MissingInputError when the file can't be read, RecipeError with every problem found in it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text ({error.reason}, byte {error.start}): is it a recipe?") from error
    except OSError as error:
        raise MissingInputError(f"cannot read the recipe {path}: {error.strerror or error}") from error
    return parse_recipe(text, origin=str(path), overrides=overrides)


def parse_recipe(text: str, *, origin: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML text; `origin` names it in messages. Raises RecipeError with every problem found."""
    document = read_yaml(text)
    if document.value is None:
        problems = document.problems
        where = f"line {problems[0].line}: {problems[0].message}" if problems else "is empty"
        raise RecipeError(f"{origin}: {where}. `phi3k init` writes a recipe to start from.")
    if not isinstance(document.value, dict):
        raise RecipeError(f"{origin}: should be a mapping of keys such as `name: my-run`, not a list or a plain value.")
    values: dict[str, object] = document.value
    set_by: dict[KeyPath, str] = {}
    findings: list[tuple[tuple[int, str], str]] = []
    for override in overrides:
        try:
            path, value = parse_override(override, Recipe)
            values = set_value(values, path, value)
            set_by[path] = f"--set {_without_secrets(override)}"
        except OverrideError as error:
            findings.append(((0, ""), f"--set {_without_secrets(override)}: {error}"))
    findings += [
        ((problem.line, _dotted(problem.path)), f"line {problem.line}, {_dotted(problem.path)}: {problem.message}")
        for problem in document.problems
    ]
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        findings += _findings(error, values, document, set_by)
    if findings:
        listed = [text for _, text in sorted(findings)]
        count = "1 problem" if len(listed) == 1 else f"{len(listed)} problems"
        raise RecipeError(f"{origin}: {count}\n" + "\n".join(f"  {line}" for line in listed))
    return recipe


def _findings(
    error: ValidationError, values: dict[str, object], document: Document, set_by: Mapping[KeyPath, str]
) -> list[tuple[tuple[int, str], str]]:
    """Sort key and text of each finding of pydantic, but for places the reader has already complained about."""
    details: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(place(detail, values), []).append(detail)
    complained = {problem.path for problem in document.problems}
    findings = []
    for path in details.keys() - complained:
        override = _override_of(path, document, set_by)
        line = next(document.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in document.lines)
        rank, where = (0, override) if override else (line, f"line {line}")
        findings.append(((rank, _dotted(path)), f"{where}, {_dotted(path)}: {explain(details[path], Recipe, path)}"))
    return findings


def _override_of(path: KeyPath, document: Document, set_by: Mapping[KeyPath, str]) -> str | None:
    """The override that gave the value at `path`: it set the value, something around it, or made the section."""
    for set_path, override in set_by.items():
        around = path[: len(set_path)] == set_path
        made = set_path[: len(path)] == path and path not in document.lines
        if around or made:
            return override
    return None


def _without_secrets(override: str) -> str:
    """The override without its value where that may be a secret: a refusal must not print it."""
    name = override.partition("=")[0]
    return f"{name}=..." if name.strip() == "cluster" or name.strip().startswith("cluster.env") else override


def _dotted(path: KeyPath) -> str:
    names = "".join(f"[{part}]" if isinstance(part, int) else f".{escaped_line(part)}" for part in path)
    return names.removeprefix(".") or "recipe"


class _Dumper(yaml.SafeDumper):
    """Writes YAML that 1.1, 1.2 and Go's readers understand alike: text that one takes for a number is quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write every value out."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text with line breaks goes in double quotes: PyYAML folds the rarer ones (x85, u2028) in any other style."""
    return dumper.represent_scalar(STRING, text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern, _first in GO_SCALARS:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def without_env(recipe: Recipe) -> Recipe:
    """The recipe as it is written anywhere but into the pod: without the values of `cluster.env`."""
    return recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"env": {}})})


def dump_recipe(recipe: Recipe) -> str:
    """The recipe in force as YAML: every field, in the order of the schema; `parse_recipe` reads it back unchanged."""
    values = recipe.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def recipe_sha256(recipe: Recipe) -> str:
    """SHA-256 (hexadecimal) of the recipe in force: its text without `cluster.env`, then a line NAME=VALUE for each.

    Without such variables `sha256sum` of the file in a run's ConfigMap gives it too. Spelling, comments and the order
    of fields in the recipe's own file don't matter.
    """
    env = "".join(f"{name}={value}\n" for name, value in sorted(recipe.cluster.env.items()))
    return hashlib.sha256((dump_recipe(without_env(recipe)) + env).encode()).hexdigest()
