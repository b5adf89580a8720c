"""Kubeconfig files merged as kubectl merges them (k8s.io/client-go/tools/clientcmd). Pure reading: nothing is sent."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.errors import MissingInputError

# Kind of entry: the list it stands in, its own key there, and its fields that name files.
SECTIONS = {
    "clusters": ("cluster", ("certificate-authority",)),
    "users": ("user", ("client-certificate", "client-key", "tokenFile")),
    "contexts": ("context", ()),
}


@dataclass(frozen=True)
class Kubeconfig:
    """What a list of files says together; paths in it are absolute."""

    current_context: str
    clusters: dict[str, Manifest]
    users: dict[str, Manifest]
    contexts: dict[str, Manifest]


def kubeconfig_files(named: str | None, environment: Mapping[str, str]) -> list[Path]:
    """Return the files to merge: `named` alone, else those in KUBECONFIG, else ~/.kube/config. Some may be missing."""
    if named:
        return [Path(named).expanduser()]
    if listed := environment.get("KUBECONFIG"):
        return [Path(place) for place in dict.fromkeys(listed.split(os.pathsep)) if place]
    return [Path("~/.kube/config").expanduser()]


def read_kubeconfig(files: Sequence[Path]) -> Kubeconfig:
    """Merge the files that exist: the first that sets the current context, or has an entry of a name, wins whole.

    Raises:
        MissingInputError: a file can't be read or isn't a kubeconfig.
    """
    merged: dict[str, dict[str, Manifest]] = {section: {} for section in SECTIONS}
    current = ""
    for file in files:
        document = _read(file)
        current = current or _text(document, "current-context", file)
        for section, (key, paths) in SECTIONS.items():
            for name, entry in _entries(document, section, key, file).items():
                merged[section].setdefault(name, _with_absolute_paths(entry, paths, file))
    return Kubeconfig(current, **merged)


def _read(file: Path) -> Manifest:
    """Return a file's mapping; an empty or missing file has none."""
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MissingInputError(f"cannot read the kubeconfig {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _unusable(file, f"byte {error.start} is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        # The problem alone: what stands around it may be a token.
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _unusable(file, f"it is not YAML{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _unusable(file, "it is not YAML") from error
    if not isinstance(document, dict):
        raise _unusable(file, "it should be a mapping")
    if document.get("kind", "Config") != "Config" or document.get("apiVersion", "v1") != "v1":
        raise _unusable(file, "it should have `apiVersion: v1` and `kind: Config`")
    return document


def _entries(document: Manifest, section: str, key: str, file: Path) -> dict[str, Manifest]:
    listed: Any = document.get(section)
    if listed is None:
        return {}
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise _unusable(file, f"{section} should be a list of mappings")
    entries: dict[str, Manifest] = {}
    for entry in listed:
        name, content = _text(entry, "name", file), entry.get(key)
        if name in entries:
            raise _unusable(file, f"{section} has two entries of the name '{name}'")
        if not isinstance(content, dict | None):
            raise _unusable(file, f"{key} of '{name}' should be a mapping")
        entries[name] = content or {}
    return entries


def _text(mapping: Manifest, key: str, file: Path) -> str:
    value = mapping.get(key)
    if not isinstance(value, str | None):
        raise _unusable(file, f"{key} should be text")
    return value or ""


def _with_absolute_paths(entry: Manifest, paths: Sequence[str], file: Path) -> Manifest:
    directory = file.absolute().parent
    resolved: Manifest = {
        key: str(directory / entry[key]) for key in paths if entry.get(key) and isinstance(entry[key], str)
    }
    plugin = entry.get("exec")
    if isinstance(plugin, dict) and os.sep in str(plugin.get("command")):
        resolved["exec"] = {**plugin, "command": str(directory / plugin["command"])}
    return {**entry, **resolved}


def _unusable(file: Path, problem: str) -> MissingInputError:
    return MissingInputError(f"{file} is not a usable kubeconfig: {problem}")
