"""The credentials of a kubeconfig's user: token, password, certificate or plugin. A secret is never printed.

If there are several, the one that kubectl would use is used: k8s.io/client-go/tools/clientcmd and rest.
"""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError

if TYPE_CHECKING:
    from kubernetes.client import Configuration


def identify(configuration: "Configuration", who: str, user: Manifest, cluster: Manifest) -> None:
    """Set the credentials of a kubeconfig's `user`; those that come from a file or expire are renewed when asked.

    Args:
        configuration: Where they are set.
        who: The user in words, such as "user 'admin'".
        user: The entry of the kubeconfig, with absolute paths.
        cluster: The entry of the cluster, which a plugin may want to know.

    Raises:
        MissingInputError: the entry contradicts itself, or names a file that can't be read.
        PermissionDeniedError: the plugin that gives the credentials fails.
    """
    _refuse_contradictions(who, user)
    configuration.cert_file = file_of(user, "client-certificate", who)
    configuration.key_file = file_of(user, "client-key", who)
    if user.get("tokenFile"):
        _renewed(configuration, lambda: bearer(_file_token(user, who), who))
    elif user.get("token"):
        _authorize(configuration, bearer(str(user["token"]), who))
    elif user.get("username"):
        _authorize(configuration, _basic(str(user["username"]), str(user.get("password") or "")))
    elif user.get("exec"):
        _from_plugin(configuration, who, user["exec"], cluster)
    elif user.get("auth-provider"):
        _from_provider(configuration, who, user)


def bearer(token: str, who: str) -> str:
    """Return the header's value for a token, without the white space around it.

    Raises:
        MissingInputError: it is not a valid token.
    """
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise MissingInputError(f"the token of {who} is empty or contains white space: log in again")
    return f"Bearer {token}"


def impersonation(who: str, user: Manifest) -> dict[str, str]:
    """Return the headers by which the user acts as another (`as`, `as-uid`, `as-groups`).

    Raises:
        MissingInputError: it asks for headers that phi3k can't send.
    """
    groups = user.get("as-groups") or []
    if len(groups) > 1 or user.get("as-user-extra"):
        raise MissingInputError(f"{who} impersonates several groups or has as-user-extra: phi3k can't send that")
    headers = {"Impersonate-User": user.get("as"), "Impersonate-Uid": user.get("as-uid")}
    headers["Impersonate-Group"] = groups[0] if groups else None
    stated = {header: str(value) for header, value in headers.items() if value}
    if stated and "Impersonate-User" not in stated:
        raise MissingInputError(f"{who} has as-uid or as-groups without `as`")
    return stated


def file_of(entry: Manifest, key: str, where: str) -> str | None:
    """Return the file that `key` names, or one with the content of `<key>-data` that is removed when phi3k ends.

    Raises:
        MissingInputError: both are there, the file can't be read, or the content isn't base64.
    """
    named, data = entry.get(key), entry.get(f"{key}-data")
    if named and data:
        raise MissingInputError(f"{where} has both {key} and {key}-data: remove one")
    if data:
        from kubernetes.config.kube_config import FileOrData

        try:
            content = base64.b64decode(str(data), validate=True)
        except ValueError:
            raise MissingInputError(f"{key}-data of {where} is not base64") from None
        encoded = {key: base64.b64encode(content).decode()}
        return str(FileOrData(encoded, "", data_key_name=key).as_file())
    if not named:
        return None
    try:
        Path(named).open("rb").close()
    except OSError as error:
        raise MissingInputError(f"cannot read {named}, the {key} of {where}: {error.strerror or error}") from error
    return str(named)


def _refuse_contradictions(who: str, user: Manifest) -> None:
    if user.get("token") and (user.get("username") or user.get("password")):
        raise MissingInputError(f"{who} has both a token and a password: remove one")
    certificate, key = (
        any(user.get(part + end) for end in ("", "-data")) for part in ("client-certificate", "client-key")
    )
    if certificate and not key:
        raise MissingInputError(f"{who} has a client-certificate and no client-key")


def _authorize(configuration: "Configuration", value: str) -> None:
    configuration.api_key["authorization"] = value


def _renewed(configuration: "Configuration", read: Callable[[], str]) -> None:
    """Authorize with what `read` gives, before each request again."""

    def renew(of: "Configuration") -> None:
        _authorize(of, read())

    renew(configuration)
    configuration.refresh_api_key_hook = renew


def _file_token(user: Manifest, who: str) -> str:
    """Return the token in the user's file; a token beside it counts while the file can't be read."""
    try:
        return Path(user["tokenFile"]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if user.get("token"):
            return str(user["token"])
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise MissingInputError(f"cannot read {user['tokenFile']}, the tokenFile of {who}: {reason}") from None


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _from_plugin(configuration: "Configuration", who: str, plugin: Manifest, cluster: Manifest) -> None:
    """Run the plugin for credentials, and again when they have expired."""
    from datetime import UTC, datetime, timedelta

    from kubernetes.config.dateutil import parse_rfc3339

    status = _run_plugin(who, plugin, cluster)

    def use(of: "Configuration", given: Mapping[str, Any]) -> None:
        if given.get("token"):
            _authorize(of, bearer(str(given["token"]), who))
        if given.get("clientCertificateData"):
            of.cert_file, of.key_file = (_pem_file(given, key) for key in ("clientCertificateData", "clientKeyData"))

    def renew(of: "Configuration") -> None:
        nonlocal status
        expiry = status.get("expirationTimestamp")
        if expiry and parse_rfc3339(expiry) <= datetime.now(tz=UTC) + timedelta(seconds=10):
            status = _run_plugin(who, plugin, cluster)
            use(of, status)

    use(configuration, status)
    configuration.refresh_api_key_hook = renew


def _pem_file(status: Mapping[str, Any], key: str) -> str:
    from kubernetes.config.kube_config import FileOrData

    return str(FileOrData(dict(status), "", data_key_name=key, base64_file_content=False).as_file())


def _run_plugin(who: str, plugin: Manifest, cluster: Manifest) -> Mapping[str, Any]:
    from kubernetes.config import ConfigException
    from kubernetes.config.exec_provider import ExecProvider
    from kubernetes.config.kube_config import ConfigNode

    command = str(plugin.get("command"))
    hint = f". {' '.join(str(plugin['installHint']).split())}" if plugin.get("installHint") else ""
    try:
        described = ConfigNode("cluster", _described(cluster))
        status = ExecProvider(ConfigNode("exec", dict(plugin)), None, described).run()
    except FileNotFoundError:
        raise PermissionDeniedError(
            f"{command}, which gives the credentials of {who}, is not installed: install it, or log in with "
            f"another user{hint}"
        ) from None
    except OSError as error:
        raise PermissionDeniedError(f"{command}, which gives the credentials of {who}: {error.strerror}") from None
    except (ConfigException, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("exec: ")
        raise PermissionDeniedError(f"{command}, which gives the credentials of {who}, failed: {reason}") from None
    if not isinstance(status, dict) or not (status.get("token") or status.get("clientCertificateData")):
        raise PermissionDeniedError(f"{command} gave no credentials for {who}: log in again, then repeat")
    if status.get("clientCertificateData") and not status.get("clientKeyData"):
        raise PermissionDeniedError(f"{command} gave {who} a certificate without its key")
    return status


def _described(cluster: Manifest) -> Manifest:
    """Return what a plugin with provideClusterInfo is handed: the content of the authority's file, not its path."""
    described = {key: value for key, value in cluster.items() if key != "certificate-authority"}
    if cluster.get("certificate-authority"):
        authority = Path(cluster["certificate-authority"]).read_bytes()
        described["certificate-authority-data"] = base64.b64encode(authority).decode()
    return described


def _from_provider(configuration: "Configuration", who: str, user: Manifest) -> None:
    """Let the client's own loader deal with OpenID Connect, the one provider that kubectl still knows."""
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import KubeConfigLoader

    provider = user["auth-provider"]
    if not isinstance(provider, dict) or provider.get("name") != "oidc":
        raise PermissionDeniedError(
            f"{who} has an auth-provider that kubectl no longer knows: log in again with the plugin of your "
            "cloud (such as gke-gcloud-auth-plugin or kubelogin)"
        )
    alone = {
        "contexts": [{"name": who, "context": {"cluster": who, "user": who}}],
        "clusters": [{"name": who, "cluster": {}}],
        "users": [{"name": who, "user": user}],
    }
    try:
        KubeConfigLoader(alone, active_context=who).load_and_set(configuration)
    except (ConfigException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise PermissionDeniedError(f"{who} can't log in with OpenID Connect ({type(error).__name__})") from None
    if not configuration.api_key:
        raise PermissionDeniedError(f"the OpenID Connect token of {who} is missing or expired: log in again")
