"""From a kubeconfig, one of its contexts, or the pod this runs in to a cluster."""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phi3k_jobs.cluster import Cluster
from phi3k_jobs.manifest import Manifest
from phi3k_trainer.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(*, context: str | None = None, namespace: str | None = None, kubeconfig: str | None = None) -> Cluster:
    """Return the cluster that the kubeconfig, its `context`, or the pod this runs in names. Nothing is sent yet.

    Raises:
        UsageError: there is no such context, or none is the current one.
        MissingInputError: there is no usable kubeconfig, nor a service account.
    """
    _import_client()
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    # The default of three immediate retries turns an unreachable server into a long silence.
    configuration.retries = 0
    files = _kubeconfigs(kubeconfig)
    if not files and kubeconfig is None:
        return Cluster(ApiClient(configuration), namespace or _load_own(configuration), "in-cluster")
    if not files:
        raise MissingInputError(f"there is no kubeconfig {kubeconfig}: name another one with --kubeconfig")
    name, content = _load(configuration, files, context)
    return Cluster(ApiClient(configuration), namespace or content.get("namespace") or "default", name)


def _import_client() -> None:
    """Import the client's thousand modules, which stay to the end, out of the way of the garbage collector."""
    if "kubernetes" in sys.modules:
        return
    gc.disable()
    import kubernetes  # noqa: F401

    gc.freeze()
    gc.enable()


def _kubeconfigs(named: str | None) -> list[str]:
    """Return the kubeconfig files that exist, as kubectl looks for them."""
    places = named or os.environ.get("KUBECONFIG") or "~/.kube/config"
    paths = [Path(place).expanduser() for place in places.split(os.pathsep) if place]
    return [str(path) for path in paths if path.is_file()]


def _load(configuration: "Configuration", files: Sequence[str], context: str | None) -> tuple[str, Manifest]:
    """Load the kubeconfig into `configuration`; return name and content of the context in use."""
    import yaml
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    told = os.pathsep.join(files)
    try:
        # As the client merges them: of two contexts with one name the first counts, the last file names the current.
        documents = [yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {} for file in files]
        contexts = {entry["name"]: entry for document in reversed(documents) for entry in document["contexts"]}
        current = [document["current-context"] for document in documents if document.get("current-context")]
        chosen = str(context or next(reversed(current), ""))
        if chosen not in contexts:
            problem = f"has no context '{chosen}'" if chosen else "names no current context"
            raise UsageError(f"the kubeconfig {told} {problem}; --context can be: {', '.join(contexts) or 'nothing'}")
        config.load_kube_config(config_file=told, context=chosen, client_configuration=configuration)
    except (ConfigException, OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise MissingInputError(f"{told} is no usable kubeconfig: {' '.join(str(error).split())}") from error
    return chosen, contexts[chosen]["context"]


def _load_own(configuration: "Configuration") -> str:
    """Load the service account of the pod this runs in and return its namespace."""
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        raise MissingInputError(
            "there is no kubeconfig (KUBECONFIG or ~/.kube/config) and this is no pod: name one with --kubeconfig, "
            "or ask the cluster's owner for one"
        ) from None
    return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
