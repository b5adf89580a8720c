"""The cluster that kubectl would use: from a kubeconfig, one of its contexts, or the pod this runs in."""

import gc
import ipaddress
import os
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.credentials import file_of, identify, impersonation
from phi3k_jobs.api.kubeconfig import Kubeconfig, kubeconfig_files, read_kubeconfig
from phi3k_jobs.api.proxies import checked_proxy, proxy_for
from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

NAMESPACE = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def connect(*, context: str | None = None, namespace: str | None = None, kubeconfig: str | None = None) -> Cluster:
    """Return the cluster that the kubeconfig, its `context`, or the pod this runs in names. Nothing is sent yet.

    Raises:
        UsageError: there is no such context, or none is the current one; or a proxy can't be read as an address.
        MissingInputError: there is no usable kubeconfig, nor a service account.
        PermissionDeniedError: the plugin that gives the credentials fails.
        UnavailableError: the proxy speaks another protocol than HTTP.
    """
    _import_client()
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    # With the default of three immediate retries, an unreachable server is reported late.
    configuration.retries = 0
    files = kubeconfig_files(kubeconfig, os.environ)
    if kubeconfig and not files[0].exists():
        raise MissingInputError(f"there is no kubeconfig {kubeconfig}: name another one with --kubeconfig")
    if namespace and not NAMESPACE.fullmatch(namespace):
        raise UsageError(f"{namespace!r} can't be a namespace: use at most 63 lower-case letters, digits and -")
    merged = read_kubeconfig(files)
    if not (context or merged.current_context) and not kubeconfig and _is_pod():
        _use_account(configuration)
        return Cluster(ApiClient(configuration), namespace or _own_namespace(), "in-cluster")
    chosen = _choose(merged, files, context)
    content = merged.contexts[chosen]
    headers = _use_context(configuration, merged, chosen)
    api = ApiClient(configuration)
    for name, value in headers.items():
        api.set_default_header(name, value)
    return Cluster(api, namespace or content.get("namespace") or "default", chosen)


def _import_client() -> None:
    """Import the client's thousand modules, which stay to the end, out of the way of the garbage collector."""
    if "kubernetes" in sys.modules:
        return
    gc.disable()
    import kubernetes  # noqa: F401

    gc.freeze()
    gc.enable()


def _choose(merged: Kubeconfig, files: list[Path], context: str | None) -> str:
    """Return the name of the context to use."""
    named = os.pathsep.join(map(str, files))
    if not merged.contexts and not any(file.exists() for file in files):
        raise MissingInputError(
            f"there is no kubeconfig ({named}) and this is not a pod: name one with --kubeconfig, or ask the "
            "cluster's administrator for one"
        )
    chosen = context or merged.current_context
    if chosen not in merged.contexts:
        problem = f"has no context '{chosen}'" if chosen else "names no current context"
        raise UsageError(
            f"the kubeconfig {named} {problem}; --context can be: {', '.join(merged.contexts) or 'nothing'}"
        )
    return chosen


def _use_context(configuration: "Configuration", merged: Kubeconfig, chosen: str) -> dict[str, str]:
    """Set server, certificates, credentials and proxy; returns the headers that every request needs besides."""
    context = merged.contexts[chosen]
    name, user_name = (str(context.get(key) or "") for key in ("cluster", "user"))
    cluster, user, who = merged.clusters.get(name), merged.users.get(user_name, {}), f"user '{user_name}'"
    proxy: str | None
    if not cluster or not cluster.get("server"):
        raise MissingInputError(f"context '{chosen}' of the kubeconfig: there is no cluster '{name}' with a server")
    where = f"cluster '{name}'"
    configuration.host = _server(str(cluster["server"]), where)
    secure = configuration.host.startswith("https:")
    if secure:
        _set_authority(configuration, cluster, where)
    # Like kubectl, send no credentials in clear; a server on this machine (`kubectl proxy`) is the exception.
    if secure or _is_loopback(configuration.host):
        identify(configuration, who, user, cluster)
    if cluster.get("proxy-url"):
        proxy = checked_proxy(str(cluster["proxy-url"]), f"proxy-url of {where}")
    else:
        proxy = proxy_for(configuration.host, os.environ)
    _set_proxy(configuration, proxy)
    return impersonation(who, user)


def _server(address: str, where: str) -> str:
    """Return the server's address as kubectl reads it: http unless it has a scheme, without a slash at the end."""
    try:
        parsed = urlsplit(address if "://" in address else f"http://{address}")
        _ = parsed.port
    except ValueError:
        parsed = urlsplit("")
    if parsed.scheme.lower() not in ("http", "https") or not parsed.hostname:
        raise MissingInputError(f"{where} has the server {address!r}, which isn't an address such as https://host:6443")
    return urlunsplit((parsed.scheme.lower(), parsed.netloc, parsed.path.rstrip("/"), "", ""))


def _set_authority(configuration: "Configuration", cluster: Manifest, where: str) -> None:
    authority = file_of(cluster, "certificate-authority", where)
    insecure = bool(cluster.get("insecure-skip-tls-verify"))
    if insecure and authority:
        raise MissingInputError(f"{where} has both insecure-skip-tls-verify and a certificate-authority: remove one")
    configuration.verify_ssl = not insecure
    configuration.ssl_ca_cert = authority or ssl.get_default_verify_paths().cafile
    configuration.tls_server_name = cluster.get("tls-server-name") or None


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _set_proxy(configuration: "Configuration", proxy: str | None) -> None:
    from urllib3.util import make_headers

    # The client would apply rules of its own to what the environment says.
    configuration.proxy, configuration.no_proxy = proxy, ""
    if proxy and (userinfo := urlsplit(proxy).netloc.rpartition("@")[0]):
        configuration.proxy_headers = make_headers(proxy_basic_auth=unquote(userinfo))


def _is_pod() -> bool:
    """Return whether there is a service account to use, as kubectl finds out."""
    variables = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
    return all(os.environ.get(name) for name in variables) and (ACCOUNT / "token").is_file()


def _use_account(configuration: "Configuration") -> None:
    """Use the service account of the pod this runs in; its token is renewed by the kubelet."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    configuration.ssl_ca_cert = file_of({"ca": str(ACCOUNT / "ca.crt")}, "ca", "the pod's service account")
    identify(configuration, "the pod's service account", {"tokenFile": str(ACCOUNT / "token")}, {})
    _set_proxy(configuration, proxy_for(configuration.host, os.environ))


def _own_namespace() -> str:
    if named := os.environ.get("POD_NAMESPACE"):
        return named
    file = ACCOUNT / "namespace"
    return (file.read_text(encoding="utf-8").strip() if file.is_file() else "") or "default"
