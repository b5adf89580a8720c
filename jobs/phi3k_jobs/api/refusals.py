"""What it means to a user that the API server refuses or does not answer: one message each, with its exit code."""

import json
import re
from typing import TYPE_CHECKING

from phi3k_trainer.errors import (
    MissingInputError,
    OutputError,
    PermissionDeniedError,
    Phi3kError,
    RecipeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from kubernetes.client import ApiException


class NotFoundError(MissingInputError):
    """The API has no such object, kind or namespace."""


class WebhookError(UnavailableError):
    """A webhook that has to admit the object did not answer, so nothing was stored and asking again is safe."""


def refused(error: "ApiException", what: str, context: str) -> Phi3kError:
    """Return the error that says what the server refused to do, and what the user can do about it."""
    message = message_of(error)
    if error.status == 401 or (error.status == 403 and 'User "system:anonymous"' in message):
        return PermissionDeniedError(
            f"the credentials of context '{context}' are not accepted (expired?): log in again, then repeat"
        )
    if error.status == 403 and "exceeded quota" in message:
        return RecipeError(f"can't {what}: {message}. Ask for less, or free part of the namespace's quota")
    if error.status == 403 and "is forbidden: User" in message:
        return PermissionDeniedError(
            f"can't {what}: {message}. docs/cluster.md has the role that every verb of phi3k needs"
        )
    if error.status == 403:
        return PermissionDeniedError(f"can't {what}: {message}")
    if error.status == 404 and message.startswith("namespaces "):
        return NotFoundError(f"can't {what}: {message}. Name another namespace with --namespace, or create this one")
    if error.status == 404:
        return NotFoundError(f"can't {what}: {message}")
    if error.status == 409:
        return OutputError(f"can't {what}: {message}")
    if error.status in (400, 422):
        return RecipeError(f"can't {what}: the cluster refuses it: {message}")
    kind = WebhookError if "failed calling webhook" in message else UnavailableError
    return kind(f"can't {what}: the cluster answers {error.status}: {message}")


def silent(error: Exception, address: str, context: str) -> Phi3kError:
    """Return the error for a server that can't be reached or does not answer."""
    return UnavailableError(
        f"the cluster of context '{context}' at {address} does not answer: {_reason(error)}. "
        "Check the network or VPN, and the kubeconfig's address"
    )


def message_of(error: "ApiException") -> str:
    """Return the server's own words."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _reason(error: Exception) -> str:
    """Return what urllib3 wraps, without the connection it names in front: the address is known already."""
    from urllib3.exceptions import ProxyError

    inner = getattr(error, "reason", None)
    if isinstance(inner, ProxyError):
        return f"its proxy (proxy-url or HTTPS_PROXY) can't be used: {_reason(inner.original_error)}"
    return re.sub(r"^HTTPS?Connection(Pool)?\([^)]*\): ", "", str(inner if inner is not None else error))
