"""One namespace of one cluster: reading, server-side apply, deleting. Every failure becomes one clear message."""

import gc
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from phi3k_jobs.api.refusals import NotFoundError, WebhookError, refused, silent
from phi3k_jobs.api.resources import RESOURCES
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import FIELD_MANAGER

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import HTTPResponse

PAGE_SIZE = 500
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
# A log stream that is silent for this long is opened again: the connection may be dead.
SILENT_STREAM_SECONDS = 120.0
# The webhook of an operator that is starting, or on a busy machine, answers late; the request is then repeated.
WEBHOOK_PAUSES_SECONDS = (1.0, 3.0)
KUEUE = "kueue.x-k8s.io"


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
        headers = {"Content-Type": content_type, "Accept-Encoding": "gzip"}

        def ask() -> Any:
            with self.explaining(what or f"{method} {path}"):
                payload = self._send(method, path, query, body, headers, READ_SECONDS).data
            return _decode(payload) if payload else None

        for pause in WEBHOOK_PAUSES_SECONDS:
            try:
                return ask()
            except WebhookError:
                time.sleep(pause)
        return ask()

    @contextmanager
    def stream(self, path: str, *, query: Mapping[str, str], what: str) -> "Iterator[HTTPResponse]":
        """Open a response that is read as it arrives, and close it after the block.

        Raises:
            Phi3kError: the server can't be reached, refuses, or stops sending.
        """
        with self.explaining(what):
            response = self._send("GET", path, query, None, {}, SILENT_STREAM_SECONDS)
            try:
                yield response
            finally:
                response.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str],
        read_seconds: float,
    ) -> "HTTPResponse":
        response: HTTPResponse = self.api.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*", **headers},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=(CONNECT_SECONDS, read_seconds),
        )[0]
        return response

    @contextmanager
    def explaining(self, what: str) -> Iterator[None]:
        """Turn the client's exceptions into errors that name what could not be done."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            raise refused(error, what, self.context) from error
        except HTTPError as error:
            raise silent(error, self.address, self.context) from error

    def path(self, kind: str, name: str | None = None) -> str:
        """Return where the API keeps an object of this namespace, or all of a kind."""
        resource = RESOURCES[kind]
        if resource.group == KUEUE:
            resource = replace(resource, api_version=self._kueue_version)
        return resource.path(self.namespace, name)

    @cached_property
    def _kueue_version(self) -> str:
        """The version that the cluster's Kueue prefers: each minor version of Kueue may drop an old one."""
        try:
            group = self.request("GET", f"/apis/{KUEUE}", what="ask for Kueue's version")
        except NotFoundError:
            return RESOURCES["Workload"].api_version
        return str(group["preferredVersion"]["groupVersion"])

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if it does not exist."""
        try:
            found: Manifest = self.request("GET", self.path(kind, name), what=f"read {kind} {name}")
        except NotFoundError:
            return None
        return found

    def list(self, kind: str, *, label_selector: str = "", field_selector: str = "") -> Iterator[Manifest]:
        """Yield the namespace's objects of a kind, page by page; none if the cluster lacks the kind."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            try:
                page = self.request("GET", self.path(kind), query=query, what=f"list {kind}s")
            except NotFoundError:
                return
            yield from page["items"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Apply an object as phi3k's own fields, strictly: an unknown field is an error.

        Raises:
            Phi3kError: the server refuses, or another manager owns a field.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "false"}
        if dry_run:
            query["dryRun"] = "All"
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        applied: Manifest = self.request(
            "PATCH",
            self.path(kind, name),
            query=query,
            body=manifest,
            content_type="application/apply-patch+yaml",
            what=f"apply {kind} {name}",
        )
        return applied

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object, strictly.

        Raises:
            OutputError: an object of that name exists.
            Phi3kError: the server refuses for another reason.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        kind = manifest["kind"]
        created: Manifest = self.request(
            "POST", self.path(kind), query=query, body=manifest, what=f"create {kind} {manifest['metadata']['name']}"
        )
        return created

    def patch(self, kind: str, name: str, change: Manifest) -> None:
        """Merge `change` into an object."""
        self.request(
            "PATCH",
            self.path(kind, name),
            query={"fieldManager": FIELD_MANAGER},
            body=change,
            content_type="application/merge-patch+json",
            what=f"change {kind} {name}",
        )

    def delete(self, kind: str, name: str, *, uid: str | None = None) -> bool:
        """Delete an object and, in the background, what it owns; return whether it was there.

        Raises:
            OutputError: the object of that name is not the one with this `uid`.
        """
        options: Manifest = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self.request("DELETE", self.path(kind, name), body=options, what=f"delete {kind} {name}")
        except NotFoundError:
            return False
        return True

    def allowed(self, verb: str, kind: str, *, subresource: str = "") -> bool:
        """Return whether the user may do `verb` on the namespace's objects of a kind."""
        resource = RESOURCES[kind]
        attributes = {"verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource}
        if resource.namespaced:
            attributes["namespace"] = self.namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.request("POST", self.path("SelfSubjectAccessReview"), body=review)
        return bool(answer["status"]["allowed"])


def _decode(payload: bytes) -> Any:
    """Decode JSON without garbage collection: that takes twice as long, and a new document has no garbage."""
    gc.disable()
    try:
        return json.loads(payload)
    finally:
        gc.enable()
