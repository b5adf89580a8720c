"""Write what the chart shares with the rest: facts, schemas, values and their table, a recipe, submitters' rules.

Usage: chart_files.py [CHECKOUT]
The words, types, defaults and descriptions are those of the recipe's section `cluster`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from phi3k_jobs.kinds import DEFAULT_KIND, KINDS
from phi3k_jobs.objects import additions, around, job_spec, names, overlay, pod
from phi3k_jobs.role import role
from phi3k_trainer import contract
from phi3k_trainer.recipe import Recipe, cluster, cluster_pod, durations, environment, recipe_schema
from phi3k_trainer.recipe import recipe as recipes
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


def facts() -> Schema:
    """What Python knows and the templates repeat: they take it from here, and hold only logic."""
    return {
        "recipe": {
            "api_version": get_args(Recipe.model_fields["apiVersion"].annotation)[0],
            "name": recipes.RUN_NAME,
            "longest_name": recipes.LONGEST_NAME,
            "file": Path(contract.RECIPE_FILE).name,
            "digest_digits": around.DIGEST_DIGITS,
        },
        "kinds": kind_facts(),
        "default_kind": DEFAULT_KIND,
        "part_of_a_gpu": cluster.PART_OF_A_GPU,
        "durations": {"units": durations.SECONDS, "longest_seconds": durations.LONGEST_SECONDS},
        "labels": label_facts(),
        "pod": pod_facts(),
        "container": container_facts(),
        "variables": variable_facts(),
        "torchrun": torchrun_facts(),
        "network": network_facts(),
        "overlay": overlay_facts(),
        "permanent_exit_codes": list(contract.PERMANENT_EXIT_CODES),
    }


def kind_facts() -> list[Schema]:
    """The kinds of job in order of preference, and the objects that carry them."""
    return [{"name": name, "apiVersion": kind.job.api_version, "kind": kind.job.kind} for name, kind in KINDS.items()]


def label_facts() -> Schema:
    """Names of labels and annotations."""
    return {
        "name": names.NAME_LABEL,
        "instance": names.INSTANCE_LABEL,
        "version": names.VERSION_LABEL,
        "component": names.COMPONENT_LABEL,
        "run": names.RUN_LABEL,
        "queue": names.QUEUE_LABEL,
        "queue_priority": names.QUEUE_PRIORITY_LABEL,
        "namespace": around.NAMESPACE_LABEL,
        "recipe_annotation": names.RECIPE_ANNOTATION,
        "wandb_annotation": names.WANDB_ANNOTATION,
        "shared": names.SHARED_LABELS,
        "no_sidecar": additions.NO_SIDECAR_LABELS,
        "no_sidecar_annotations": additions.NO_SIDECAR_ANNOTATIONS,
    }


def pod_facts() -> Schema:
    """What every pod has around its container, and what a recipe can't add to it."""
    return {
        "spec": pod.FIXED_SPEC,
        "security_context": {**pod.NON_ROOT, **pod.SECCOMP},
        "fs_group_change_policy": additions.FS_GROUP_CHANGE_POLICY,
        "own_volumes": list(cluster_pod.OWN_VOLUMES),
        "own_path": cluster_pod.OWN_PATH,
        "own_key": cluster_pod.OWN_KEY,
    }


def container_facts() -> Schema:
    """The trainer's container, as far as it is the same for every recipe."""
    return {
        "command": pod.COMMAND,
        "doctor_command": [contract.PROGRAM, "doctor"],
        "arguments": pod.ARGUMENTS,
        "security_context": pod.container_security_context(),
        "readiness_probe": pod.readiness_probe(),
        "metrics_port": pod.METRICS_CONTAINER_PORT,
        "volume_mounts": list(pod.MOUNTS),
    }


def variable_facts() -> Schema:
    """Names and values of variables, and phi3k's regular expressions for those of others, which RE2 reads alike."""
    return {
        "fixed": _pairs(pod.WRITABLE_PLACES),
        "shutdown_timeout": pod.SHUTDOWN_VARIABLE,
        "shutdown_margin_seconds": pod.SHUTDOWN_MARGIN_SECONDS,
        "log_format": contract.LOG_FORMAT_VARIABLE,
        "image": contract.IMAGE_VARIABLE,
        "health": {"name": contract.HEALTH_VARIABLE, "value": contract.HEALTH_FILE},
        "metrics_port": {"name": contract.METRICS_PORT_VARIABLE, "value": str(contract.METRICS_PORT)},
        "deadline": contract.DEADLINE_VARIABLE,
        "wandb_run": contract.WANDB_RUN_VARIABLE,
        "wandb_address": environment.WANDB_ADDRESS_VARIABLE,
        "hub_address": environment.HUB_ADDRESS_VARIABLE,
        "no_proxy": environment.NO_PROXY,
        "of_secrets": [
            {"field": field, "variables": [{"name": name, "optional": may_lack} for name, may_lack in of.items()]}
            for field, of in pod.SECRET_VARIABLES.items()
        ],
        "section_of": environment.SECTION_OF,
        "valid_name": environment.NAME,
        "own_name": f"^({pod.OWN_VARIABLES.pattern})$",
        "secret_name": environment.SECRET_NAME,
        "harmless_name": environment.HARMLESS_NAME,
        "harmless_value": environment.HARMLESS_VALUE,
        "secret_value": environment.SECRET_VALUE,
        "proxy_name": environment.PROXY_NAME,
        "login_without_scheme": environment.LOGIN_WITHOUT_SCHEME,
    }


def torchrun_facts() -> Schema:
    """The options that an operator, or the pod of a Job, gives to torchrun."""
    return {
        "nodes": contract.NODES_VARIABLE,
        "processes": contract.PROCESSES_VARIABLE,
        "master_address": contract.MASTER_ADDRESS_VARIABLE,
        "master_port": {"name": contract.MASTER_PORT_VARIABLE, "value": str(contract.RENDEZVOUS_PORT)},
        "node_rank": contract.NODE_RANK_VARIABLE,
        "node_rank_field": job_spec.INDEX_ANNOTATION,
    }


def network_facts() -> Schema:
    """Ports, the addresses that count as the web, and the forms of addresses, in regular expressions."""
    return {
        "metrics": around.METRICS,
        "metrics_port_name": contract.METRICS_PORT_NAME,
        "rendezvous": around.RENDEZVOUS,
        "dns": list(around.DNS),
        "web": list(around.WEB),
        "web_ports": list(around.WEB_PORTS),
        "socks_port": environment.SOCKS_PORT,
        "highest_port": environment.HIGHEST_PORT,
        "address": environment.ADDRESS,
        "host_and_port": environment.HOST_AND_PORT,
    }


def overlay_facts() -> Schema:
    """How an overlay is merged, and what it must leave as it is."""
    return {
        "trainer": overlay.TRAINER,
        "merge_keys": overlay.MERGE_KEYS,
        "agreed_spec": list(overlay.AGREED_SPEC),
        "agreed_labels": list(overlay.AGREED_LABELS),
        "agreed_container": list(overlay.AGREED_CONTAINER),
        "own_prefixes": [contract.TORCHRUN_PREFIX, contract.OWN_PREFIX],
    }


def _pairs(variables: dict[str, str]) -> list[dict[str, str]]:
    """The variables as entries of a container: a list, since Helm sorts the keys of a mapping."""
    return [{"name": name, "value": value} for name, value in variables.items()]


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
        CHART / "files" / "facts.json": json.dumps(facts(), indent=2) + "\n",
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
