"""`cluster.overlay`: a strategic merge patch on the pod template, merged last. Pure.

The rules are those of `kubectl patch --type strategic`
(https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md):
mappings are merged, null removes, lists of named parts are merged by the part's key, other lists are replaced, and
`$patch: delete` or `$patch: replace` deletes or replaces one part.
"""

import copy
from collections.abc import Mapping
from typing import Any

from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import COMPONENT_LABEL, RUN_LABEL
from phi3k_trainer.contract import OWN_PREFIX, TORCHRUN_PREFIX
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe.cluster_pod import OWN_VOLUMES

# Lists that are merged, with the key of their entries: `patchMergeKey` in k8s.io/api/core/v1.
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
DIRECTIVE = "$patch"
# In an overlay, the name of the trainer's container whatever the kind of job calls it.
TRAINER = "trainer"
# Facts of the pod that trainer and cluster rely on, besides the container's command, arguments, mounts and variables.
AGREED_SPEC = ("restartPolicy", "serviceAccountName", "subdomain", "terminationGracePeriodSeconds")
AGREED_LABELS = (RUN_LABEL, COMPONENT_LABEL)
AGREED_CONTAINER = ("command", "args")


def overlaid(template: Manifest, overlay: Mapping[str, Any]) -> Manifest:
    """Return the pod template with the overlay merged into it.

    Args:
        template: Labels, annotations and spec of the pod; its first container is the trainer's.
        overlay: The patch: `metadata` and `spec`.

    Raises:
        RecipeError: the overlay changes what trainer and cluster have agreed on; the message names the place.
    """
    if not overlay:
        return template
    container = template["spec"]["containers"][0]["name"]
    result = merge(template, _with_name(overlay, container))
    before, after = agreed(template, template), agreed(result, template)
    for place in sorted(before.keys() | after.keys()):
        if before.get(place) != after.get(place):
            raise RecipeError(f"cluster.overlay changes {place}, which phi3k and the trainer rely on: leave it out")
    return result


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `patch` merged into it; neither is changed."""
    if patch.get(DIRECTIVE) == "replace":
        base = {}
    merged: dict[str, Any] = copy.deepcopy(dict(base))
    for key, value in patch.items():
        if key == DIRECTIVE:
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        elif isinstance(value, list | tuple) and key in MERGE_KEYS:
            merged[key] = _merged_list(merged.get(key) or [], list(value), MERGE_KEYS[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _merged_list(base: list[Any], patch: list[Any], key: str) -> list[Any]:
    merged = list(base)
    for entry in patch:
        if not isinstance(entry, Mapping) or key not in entry:
            raise RecipeError(f"cluster.overlay: each entry of a list that is merged by {key} needs {key}")
        place = next((number for number, other in enumerate(merged) if other.get(key) == entry[key]), None)
        if entry.get(DIRECTIVE) == "delete":
            if place is not None:
                del merged[place]
        elif place is None:
            merged.append(merge({}, entry))
        else:
            merged[place] = merge(merged[place], entry)
    return merged


def agreed(template: Manifest, original: Manifest) -> dict[str, Any]:
    """Return by place what of `template` trainer and cluster rely on; `original` names what is phi3k's own."""
    spec, trainer = template["spec"], original["spec"]["containers"][0]
    labels = template.get("metadata", {}).get("labels", {})
    found: dict[str, Any] = {f"metadata.labels.{name}": labels.get(name) for name in AGREED_LABELS}
    found |= {f"spec.{name}": spec.get(name) for name in AGREED_SPEC}
    volumes = _by(spec.get("volumes", []), "name")
    for name in OWN_VOLUMES:
        found[f"spec.volumes[{name}]"] = volumes.get(name)
    container = _by(spec["containers"], "name").get(trainer["name"], {})
    place = f"spec.containers[{TRAINER}]"
    found |= {f"{place}.{name}": container.get(name) for name in AGREED_CONTAINER}
    mounts, env = _by(container.get("volumeMounts", []), "mountPath"), _by(container.get("env", []), "name")
    for path in (mount["mountPath"] for mount in trainer["volumeMounts"] if mount["name"] in OWN_VOLUMES):
        found[f"{place}.volumeMounts[{path}]"] = mounts.get(path)
    own_variables = {entry["name"] for entry in trainer["env"]}
    for name in own_variables | {name for name in env if name.startswith((TORCHRUN_PREFIX, OWN_PREFIX))}:
        found[f"{place}.env[{name}]"] = env.get(name)
    return found


def _by(entries: list[Manifest], key: str) -> dict[str, Manifest]:
    return {entry[key]: entry for entry in entries}


def _with_name(overlay: Mapping[str, Any], container: str) -> dict[str, Any]:
    """The overlay with the container's own name in the place of `trainer`."""
    named = copy.deepcopy(dict(overlay))
    for entry in (named.get("spec") or {}).get("containers") or []:
        if isinstance(entry, dict) and entry.get("name") == TRAINER:
            entry["name"] = container
    return named
