"""Write what the chart shares with the rest: its schemas, values, table of values, default recipe, submitters' rules.

Usage: chart_files.py [CHECKOUT]
The words, types, defaults and descriptions are those of the recipe's section `cluster`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from phi3k_jobs.objects import overlay
from phi3k_jobs.objects.around import WEB, WEB_PORTS
from phi3k_jobs.objects.pod import OWN_VARIABLES
from phi3k_jobs.objects.role import role
from phi3k_trainer.recipe import cluster_pod, environment, recipe_schema
from phi3k_trainer.recipe.ready import ready_recipe

Schema = dict[str, Any]

CHECKOUT = Path(__file__).parent.parent
CHART = Path("charts/phi3k")
DEFAULT_RECIPE = "burberry-lora"
MADE = "Made by scripts/chart_files.py; a test keeps it current."
# Helm places a release by --namespace, which can't be read from values.
NOT_VALUES = ("namespace",)
TABLE_BEGIN, TABLE_END = "<!-- values -->\n", "<!-- end of values -->\n"

CHART_ONLY: dict[str, Schema] = {
    "recipe": {
        "type": ["string", "null"],
        "minLength": 1,
        "description": "The recipe's text: `--set-file recipe=recipe.yaml`. Its section `cluster` says what the values "
        "below leave open.",
        "shown": f"recipes/{DEFAULT_RECIPE}.yaml",
    },
    "wandb_run_id": {
        "type": ["string", "null"],
        "pattern": "^[A-Za-z0-9_-]{1,64}$",
        "description": "W&B run to write to; null: the trainer starts one and keeps it across restarts.",
    },
    "submitter": {
        "type": "object",
        "additionalProperties": False,
        "description": "The role that lets others submit runs with `phi3k` beside this one.",
        "properties": {
            "create": {
                "type": "boolean",
                "default": False,
                "description": "Whether Role and RoleBinding `<release>-submitter` are made.",
            },
            "subjects": {
                "type": "array",
                "default": [],
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["kind", "name"],
                    "properties": {
                        "kind": {"enum": ["User", "Group", "ServiceAccount"]},
                        "name": {"type": "string", "minLength": 1},
                        "namespace": {"type": "string", "minLength": 1},
                    },
                },
                "description": "Who gets it, as in a RoleBinding: `{kind: Group, name: ml-team}`.",
            },
        },
    },
}


def cluster_schema() -> Schema:
    """The schema of the recipe's section `cluster`, without references, with the whole section as its default."""
    schema = recipe_schema()
    return cast("Schema", _inlined(schema["properties"]["cluster"], schema["$defs"]))


def environment_rules() -> Schema:
    """What the chart knows of variables and addresses: phi3k's own regular expressions, which RE2 reads alike."""
    return {
        "name": environment.NAME,
        "section_of": environment.SECTION_OF,
        "own_variables": f"^({OWN_VARIABLES.pattern})$",
        "secret_name": environment.SECRET_NAME,
        "harmless_name": environment.HARMLESS_NAME,
        "harmless_value": environment.HARMLESS_VALUE,
        "secret_value": environment.SECRET_VALUE,
        "proxy_name": environment.PROXY_NAME,
        "login_without_scheme": environment.LOGIN_WITHOUT_SCHEME,
        "address": environment.ADDRESS,
        "host_and_port": environment.HOST_AND_PORT,
        "socks_port": environment.SOCKS_PORT,
        "web": list(WEB),
        "web_ports": list(WEB_PORTS),
    }


def pod_rules() -> Schema:
    """What a recipe can't add to the pod, and what its overlay must leave as it is."""
    return {
        "own_volumes": list(cluster_pod.OWN_VOLUMES),
        "own_path": cluster_pod.OWN_PATH,
        "own_key": cluster_pod.OWN_KEY,
        "merge_keys": overlay.MERGE_KEYS,
        "agreed_spec": list(overlay.AGREED_SPEC),
        "agreed_labels": list(overlay.AGREED_LABELS),
        "agreed_container": list(overlay.AGREED_CONTAINER),
    }


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Any:
    """The schema with references resolved, titles left out and `anyOf` with null folded into types."""
    if "$ref" in schema:
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**definitions[schema["$ref"].rpartition("/")[2]], **own}, definitions)
    if "anyOf" in schema:
        option, _null = schema["anyOf"]
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return nullable(_inlined({**option, **own}, definitions))
    inlined = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in inlined:
        inlined["properties"] = {name: _inlined(field, definitions) for name, field in inlined["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(inlined.get(key), dict):
            inlined[key] = _inlined(inlined[key], definitions)
    return inlined


def nullable(schema: Schema) -> Schema:
    """The schema that also takes null."""
    widened = dict(schema)
    if isinstance(widened.get("type"), str):
        widened["type"] = [widened["type"], "null"]
    if "enum" in widened:
        widened["enum"] = [*widened["enum"], None]
    return widened


def values_schema() -> Schema:
    """The schema of values.yaml: the chart's own values, and the cluster's, all of which may be left open."""
    cluster = _optional(cluster_schema())["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": MADE,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{name: _without_shown(schema) for name, schema in CHART_ONLY.items()},
            **{name: schema for name, schema in cluster.items() if name not in NOT_VALUES},
            "global": {"type": "object", "description": "Helm hands it to subcharts; nothing reads it."},
        },
    }


def _without_shown(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "shown"}


def _optional(section: Schema) -> Schema:
    """The section with every field nullable and without defaults: values that are not given don't count."""
    fields = {}
    for name, field in section["properties"].items():
        field = {key: value for key, value in field.items() if key != "default"}
        if "properties" in field:
            fields[name] = _optional(field)
        else:
            fields[name] = field if _is_mapping(field) else nullable_once(field)
    return {**{key: value for key, value in section.items() if key != "default"}, "properties": fields}


def nullable_once(field: Schema) -> Schema:
    """The field that also takes null, if it does not yet."""
    return field if isinstance(field.get("type"), list) else nullable(field)


def _is_mapping(field: Schema) -> bool:
    return field.get("type") == "object"


def values() -> str:
    """values.yaml: every value with its description, in helm-docs' style."""
    lines = [f"# {MADE}", "# Null leaves a value to the recipe's section `cluster`, and that to phi3k's default.", ""]
    for name, schema in CHART_ONLY.items():
        lines += _value(name, schema, "")
    for name, field in cluster_schema()["properties"].items():
        if name not in NOT_VALUES:
            lines += _value(name, _open(field), "")
    return "\n".join(lines)


def _open(field: Schema) -> Schema:
    """The field as a value: what stands in its place when it is not given, and the default that then counts."""
    if "properties" in field:
        return {**field, "properties": {name: _open(inner) for name, inner in field["properties"].items()}}
    shown = f"the recipe's, else `{json.dumps(field.get('default', {}))}`"
    return {**field, "default": {} if _is_mapping(field) else None, "shown": shown}


def _value(name: str, field: Schema, indent: str) -> Iterator[str]:
    yield f"{indent}# -- {field['description']}"
    if "properties" in field:
        yield f"{indent}{name}:"
        for inner, schema in field["properties"].items():
            yield from _value(inner, schema, f"{indent}  ")
    else:
        if "shown" in field:
            yield f"{indent}# @default -- {field['shown']}"
        yield f"{indent}{name}: {json.dumps(field.get('default'))}"
    if not indent:
        yield ""


def table() -> str:
    """The README's table of values."""
    fields = {
        **CHART_ONLY,
        **{name: _open(field) for name, field in cluster_schema()["properties"].items() if name not in NOT_VALUES},
    }
    rows = "".join(row for name, field in fields.items() for row in _rows(name, field))
    return f"| Value | Type | Default | |\n|---|---|---|---|\n{rows}"


def _rows(name: str, field: Schema) -> Iterator[str]:
    if "properties" in field:
        for inner, schema in field["properties"].items():
            yield from _rows(f"{name}.{inner}", schema)
        return
    default = field.get("shown", f"`{json.dumps(field.get('default'))}`")
    yield f"| `{name}` | {_type(field)} | {default} | {field['description']} |\n"


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{option}`" for option in field["enum"] if option is not None)
    kind = str(field["type"][0] if isinstance(field["type"], list) else field["type"])
    names = {"string": "text", "array": "list", "object": "mapping", "boolean": "true or false"}
    return names.get(kind, kind)


def readme(current: str) -> str:
    """The README with its table made anew."""
    before, _, rest = current.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_BEGIN}{table()}{TABLE_END}{after}"


def files(checkout: Path) -> dict[Path, str]:
    """Path below the checkout and text of every file that is made."""
    return {
        CHART / "values.yaml": values(),
        CHART / "values.schema.json": json.dumps(values_schema(), indent=2) + "\n",
        CHART / "files" / "cluster.schema.json": json.dumps(cluster_schema(), indent=2) + "\n",
        CHART / "files" / "environment.json": json.dumps(environment_rules(), indent=2) + "\n",
        CHART / "files" / "pod.json": json.dumps(pod_rules(), indent=2) + "\n",
        CHART / "files" / "submitter-rules.yaml": f"# {MADE}\n" + yaml.safe_dump(role()["rules"], sort_keys=False),
        CHART / "files" / "recipe.yaml": ready_recipe(DEFAULT_RECIPE).read_text(encoding="utf-8"),
        CHART / "README.md": readme((checkout / CHART / "README.md").read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write them."""
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT
    for path, text in files(checkout).items():
        (checkout / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
