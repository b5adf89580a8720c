"""From text to a Recipe and back: every mistake at once, with its line, its dotted key and what to write instead."""

import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phi3k_trainer.errors import MissingInputError, RecipeError
from phi3k_trainer.recipe.layers import Layer, Layered, Origins, Place, lay_over
from phi3k_trainer.recipe.overrides import OverrideError, parse_override, set_value
from phi3k_trainer.recipe.problems import explain, is_free_mapping, place
from phi3k_trainer.recipe.recipe import Recipe
from phi3k_trainer.recipe.yaml_reader import GO_SCALARS, STRING, Document, KeyPath, read_yaml
from phi3k_trainer.terminal import escaped_line

OF_ONE_RECIPE = frozenset({"apiVersion", "name"})


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, with `--set` overrides (`a.b=value`) on top.

    Raises MissingInputError when the file can't be read, RecipeError with every problem found in it.
    """
    return parse_recipe(read_recipe_text(path), origin=str(path), overrides=overrides)


def read_recipe_text(path: str | Path) -> str:
    """Read the text of a recipe or of defaults for it.

    Raises:
        MissingInputError: the file can't be read.
        RecipeError: it isn't text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text ({error.reason}, byte {error.start}): name a recipe") from error
    except OSError as error:
        raise MissingInputError(f"cannot read the recipe {path}: {error.strerror or error}") from error


def parse_recipe(text: str, *, origin: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML text; `origin` names it in messages. Raises RecipeError with every problem found."""
    return trace_recipe(Layer(origin, text), overrides=overrides)[0]


def trace_recipe(
    written: Layer,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    defaults: Sequence[Layer] = (),
) -> tuple[Recipe, Origins]:
    """Read a recipe over its defaults, and say where each value comes from.

    Args:
        written: The recipe.
        overrides: `a.b=value` of each `--set`.
        options: Overrides by the option that they came from, such as `--gpus 8`; they replace those of `overrides`.
        defaults: Partial recipes; values of a later one replace those of the ones before it.

    Raises:
        RecipeError: with every problem of the first document that has any.
    """
    layered = Layered({}, {})
    for layer in defaults:
        layered = lay_over(layered, _read_defaults(layer), layer.origin, Recipe)
    document = _read_document(written)
    layered = lay_over(layered, document, written.origin, Recipe)
    values = layered.values
    set_by: dict[KeyPath, str] = {}
    findings: list[_Finding] = []
    named = [(f"--set {_without_secrets(override)}", override) for override in overrides]
    for option, override in [*named, *(options or {}).items()]:
        try:
            path, value = parse_override(override, Recipe)
            values = set_value(values, path, value)
            set_by.pop(path, None)
            set_by[path] = option
        except OverrideError as error:
            findings.append(((0, 0, ""), f"{option}: {error}"))
    findings += _findings_of_reading(document, layered.places)
    origins = Origins(layered.places, set_by)
    recipe = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        complained = {problem.path for problem in document.problems}
        findings += _findings(error.errors(include_url=False), values, origins, written.origin, complained)
    if recipe is None or findings:
        raise _problems(written.origin, findings)
    return recipe, origins


_Finding = tuple[tuple[int, int, str], str]
"""Sort key (document, line, dotted path) and text."""


def _read_document(written: Layer) -> Document:
    document = read_yaml(written.text)
    if document.value is None:
        problems = document.problems
        where = f"line {problems[0].line}: {problems[0].message}" if problems else "is empty"
        raise RecipeError(f"{written.origin}: {where}; `phi3k init` writes a recipe to start from")
    if not isinstance(document.value, dict):
        raise RecipeError(
            f"{written.origin}: should be a mapping of keys such as `name: my-run`, not a list or a plain value"
        )
    return document


def _read_defaults(layer: Layer) -> Document:
    """Read a partial recipe, and check each of its values against what a recipe may have there.

    Raises:
        RecipeError: with every problem found in it.
    """
    document = read_yaml(layer.text)
    if document.value is None and not document.problems:
        return Document(value={})
    if document.value is not None and not isinstance(document.value, dict):
        raise RecipeError(f"{layer.origin}: should be a mapping of sections such as `cluster:`, not a list or a text")
    values = document.value or {}
    layered = lay_over(Layered({}, {}), document, layer.origin, Recipe)
    findings = _findings_of_reading(document, layered.places)
    for name in OF_ONE_RECIPE & values.keys():
        line = document.lines[(name,)]
        order = layered.places[(name,)].order
        findings.append(((order, line, name), f"line {line}, {name}: each recipe sets this itself: remove it"))
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        complained = {problem.path for problem in document.problems} | {(name,) for name in OF_ONE_RECIPE}
        details = [detail for detail in error.errors(include_url=False) if _counts_in_a_part(detail, values)]
        findings += _findings(details, values, Origins(layered.places, {}), layer.origin, complained)
    if findings:
        raise _problems(layer.origin, findings)
    return document


def _counts_in_a_part(detail: ErrorDetails, values: dict[str, object]) -> bool:
    """Whether a finding holds whatever other documents add: they may complete a section, but not a list."""
    path = place(detail, values)
    if any(isinstance(part, int) for part in path):
        return True
    if detail["type"] == "missing" or detail["input"] is None:
        return False
    is_rule_of_a_section = isinstance(detail["input"], dict) and not is_free_mapping(Recipe, path)
    return detail["type"] != "value_error" or not is_rule_of_a_section


def _problems(origin: str, findings: Sequence[_Finding]) -> RecipeError:
    count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
    return RecipeError(f"{origin}: {count}\n" + "\n".join(f"  {text}" for _, text in sorted(findings)))


def _findings_of_reading(document: Document, places: Mapping[KeyPath, Place]) -> list[_Finding]:
    order = max((place.order for place in places.values()), default=0)
    found = [(problem.line, _dotted(problem.path), problem.message) for problem in document.problems]
    return [((order, line, where), f"line {line}, {where}: {message}") for line, where, message in found]


def _findings(
    errors: Sequence[ErrorDetails],
    values: dict[str, object],
    origins: Origins,
    origin: str,
    complained: Set[KeyPath],
) -> list[_Finding]:
    """What pydantic found, without the places where the reader found a problem already; `origin` is not repeated."""
    details: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in errors:
        details.setdefault(place(detail, values), []).append(detail)
    findings = []
    for path in details.keys() - complained:
        places = origins.places
        written = next(places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places)
        where = f"line {written.line}" if written.origin == origin else f"{written.origin}, line {written.line}"
        rank = (written.order, written.line, _dotted(path))
        if override := _override_of(path, origins):
            rank, where = (0, 0, _dotted(path)), override
        others = _other_places(path, origins, written)
        findings.append((rank, f"{where}, {_dotted(path)}: {explain(details[path], Recipe, path)}{others}"))
    return findings


def _other_places(path: KeyPath, origins: Origins, written: Place) -> str:
    """The other documents that a section is made of: a rule between its fields may be broken by theirs."""
    inside = {found.origin for under, found in origins.places.items() if path and under[: len(path)] == path}
    others = sorted(inside - {written.origin})
    return f" (a part is from {', '.join(others)})" if others else ""


def _override_of(path: KeyPath, origins: Origins) -> str | None:
    """The override that gave the value at `path`: it set the value, something around it, or made the section."""
    for set_path, override in origins.set_by.items():
        around = path[: len(set_path)] == set_path
        made = set_path[: len(path)] == path and path not in origins.places
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
    """The recipe as it is written everywhere except into the pod: without the values of `cluster.env`."""
    return recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"env": {}})})


def dump_recipe(recipe: Recipe) -> str:
    """The recipe in force as YAML: every field, in the order of the schema; `parse_recipe` reads it back unchanged."""
    values = recipe.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def override_recipe(recipe: Recipe, overrides: Sequence[str], *, origin: str = "recipe") -> Recipe:
    """Return the recipe with overrides such as `a.b=value` on top. Raises RecipeError with every problem found."""
    return parse_recipe(dump_recipe(recipe), origin=origin, overrides=overrides)


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
