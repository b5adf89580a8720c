"""One namespace of one cluster: reading, server-side apply, deleting. Every failure becomes one clear message."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import FIELD_MANAGER
from phi3k_trainer.errors import (
    MissingInputError,
    OutputError,
    PermissionDeniedError,
    Phi3kError,
    RecipeError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

PAGE_SIZE = 500
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0


@dataclass(frozen=True)
class Resource:
    """Where the API keeps objects of one kind."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str, name: str | None = None) -> str:
        """Return the resource's path below the server's address."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        scope = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced else ""
        return f"{root}{scope}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource("v1", "ConfigMap", "configmaps"),
        Resource("v1", "Event", "events"),
        Resource("v1", "Namespace", "namespaces", namespaced=False),
        Resource("v1", "Node", "nodes", namespaced=False),
        Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource("v1", "Pod", "pods"),
        Resource("v1", "ResourceQuota", "resourcequotas"),
        Resource("v1", "Secret", "secrets"),
        Resource("v1", "Service", "services"),
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
        Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False),
        Resource("batch/v1", "Job", "jobs"),
        Resource("kubeflow.org/v1", "PyTorchJob", "pytorchjobs"),
        Resource("kueue.x-k8s.io/v1beta1", "LocalQueue", "localqueues"),
        Resource("kueue.x-k8s.io/v1beta1", "Workload", "workloads"),
        Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False),
        Resource(
            "trainer.kubeflow.org/v1alpha1", "ClusterTrainingRuntime", "clustertrainingruntimes", namespaced=False
        ),
        Resource("trainer.kubeflow.org/v1alpha1", "TrainJob", "trainjobs"),
    )
}


def connect(*, context: str | None = None, namespace: str | None = None, kubeconfig: str | None = None) -> "Cluster":
    """Return the cluster that the kubeconfig, its `context`, or the pod this runs in names.

    Raises:
        UsageError: there is no such context.
        MissingInputError: there is neither a kubeconfig nor a service account.
    """
    from kubernetes import config
    from kubernetes.client import Configuration
    from kubernetes.config.config_exception import ConfigException

    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    except ConfigException:
        return _connect_from_inside(namespace, kubeconfig)
    names = [entry["name"] for entry in contexts]
    if context is not None and context not in names:
        raise UsageError(f"the kubeconfig has no context '{context}'; it has: {', '.join(names) or 'none'}")
    chosen = next(entry for entry in contexts if entry["name"] == context) if context else active
    client_configuration = Configuration()
    # The default of three immediate retries turns an unreachable server into a long silence.
    client_configuration.retries = 0
    config.load_kube_config(
        config_file=kubeconfig,
        context=context,
        client_configuration=client_configuration,
    )
    from kubernetes.client import ApiClient

    return Cluster(
        ApiClient(client_configuration), namespace or chosen["context"].get("namespace") or "default", chosen["name"]
    )


def _connect_from_inside(namespace: str | None, kubeconfig: str | None) -> "Cluster":
    from pathlib import Path

    from kubernetes import config
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config.config_exception import ConfigException

    if kubeconfig is not None:
        raise MissingInputError(f"the kubeconfig {kubeconfig} is missing, empty or no kubeconfig: name another one")
    client_configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=client_configuration)
    except ConfigException:
        raise MissingInputError(
            "there is no usable kubeconfig (KUBECONFIG or ~/.kube/config) and this is no pod: name one with "
            "--kubeconfig, or ask the cluster's owner for one"
        ) from None
    own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return Cluster(ApiClient(client_configuration), namespace or own.read_text().strip(), "in-cluster")


class Cluster:
    """The API of one cluster as seen from one namespace."""

    def __init__(self, api: "ApiClient", namespace: str, context: str) -> None:
        """Keep the client; nothing is sent yet."""
        self.api = api
        self.namespace = namespace
        self.context = context

    @cached_property
    def address(self) -> str:
        """The API server's address."""
        return str(self.api.configuration.host)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        what: str = "",
    ) -> Any:
        """Send one request and return its JSON.

        Raises:
            Phi3kError: the server can't be reached, or refuses; the message says what to do.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            response = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
            payload = response[0].data
        except ApiException as error:
            raise self._explained(error, what or f"{method} {path}") from error
        except HTTPError as error:
            raise UnavailableError(
                f"the cluster of context '{self.context}' at {self.address} does not answer: {_reason(error)}. "
                "Check the network or VPN, and the kubeconfig's address"
            ) from error
        return json.loads(payload) if payload else None

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None where there is none."""
        try:
            found: Manifest = self.request(
                "GET", RESOURCES[kind].path(self.namespace, name), what=f"read {kind} {name}"
            )
        except _NotFoundError:
            return None
        return found

    def list(self, kind: str, *, label_selector: str = "", field_selector: str = "") -> Iterator[Manifest]:
        """Yield the namespace's objects of a kind, page by page; none where the cluster lacks the kind."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            try:
                page = self.request("GET", RESOURCES[kind].path(self.namespace), query=query, what=f"list {kind}s")
            except _NotFoundError:
                return
            yield from page["items"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    def apply(self, manifest: Manifest, *, dry_run: bool = False, force: bool = False) -> Manifest:
        """Apply an object as phi3k's own fields, strictly: an unknown field is an error.

        Raises:
            Phi3kError: the server refuses, or another manager owns a field.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        applied: Manifest = self.request(
            "PATCH",
            RESOURCES[kind].path(manifest["metadata"].get("namespace", self.namespace), name),
            query=query,
            body=manifest,
            content_type="application/apply-patch+yaml",
            what=f"apply {kind} {name}",
        )
        return applied

    def patch(self, kind: str, name: str, change: Manifest) -> None:
        """Merge `change` into an object."""
        self.request(
            "PATCH",
            RESOURCES[kind].path(self.namespace, name),
            query={"fieldManager": FIELD_MANAGER},
            body=change,
            content_type="application/merge-patch+json",
            what=f"change {kind} {name}",
        )

    def delete(self, kind: str, name: str) -> bool:
        """Delete an object and, in the background, what it owns; return whether it was there."""
        try:
            self.request(
                "DELETE",
                RESOURCES[kind].path(self.namespace, name),
                query={"propagationPolicy": "Background"},
                what=f"delete {kind} {name}",
            )
        except _NotFoundError:
            return False
        return True

    def allowed(self, verb: str, kind: str, *, subresource: str = "") -> bool:
        """Return whether the user may do `verb` on the namespace's objects of a kind."""
        resource = RESOURCES[kind]
        group = resource.api_version.rpartition("/")[0]
        attributes = {"verb": verb, "group": group, "resource": resource.plural, "subresource": subresource}
        if resource.namespaced:
            attributes["namespace"] = self.namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.request("POST", RESOURCES["SelfSubjectAccessReview"].path(self.namespace), body=review)
        return bool(answer["status"]["allowed"])

    def _explained(self, error: "ApiException", what: str) -> Phi3kError:
        said = _message(error)
        if error.status == 401:
            return PermissionDeniedError(
                f"the credentials of context '{self.context}' are not accepted (expired?): log in again, then repeat"
            )
        if error.status == 403 and "exceeded quota" in said:
            return RecipeError(f"can't {what}: {said}. Ask for less, or free some of the namespace's quota")
        if error.status == 403:
            return PermissionDeniedError(
                f"can't {what}: {said}. docs/cluster.md has the role that every verb of phi3k needs"
            )
        if error.status == 404:
            return _NotFoundError(f"can't {what}: {said}")
        if error.status == 409:
            return OutputError(f"can't {what}: {said}")
        if error.status in (400, 422):
            return RecipeError(f"can't {what}: the cluster refuses it: {said}")
        return UnavailableError(f"can't {what}: the cluster answers {error.status}: {said}")


class _NotFoundError(MissingInputError):
    """The API has no such object, kind or namespace."""


def _message(error: "ApiException") -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    return str(inner if inner is not None else error).rpartition(": ")[2]
