"""Of several kubeconfigs the first one counts, and the cluster is the one that kubectl would act on."""

import base64
import json
from pathlib import Path

import pytest
import yaml

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.connection import connect
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, Phi3kError, UnavailableError, UsageError

TOKEN = "t0ps3cret"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, which is also home, and an environment without proxies or a service account."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return tmp_path


def written(path: Path, *, name: str = "x", server: str = "https://192.0.2.10:6443", **fields: object) -> Path:
    """A kubeconfig with one context; `cluster`, `user` and `context` add to what its entries hold."""
    extra = {key: fields.pop(key, {}) for key in ("cluster", "user", "context")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": f"c-{name}", "cluster": {"server": server, **extra["cluster"]}}],
        "users": [{"name": f"u-{name}", "user": extra["user"]}],
        "contexts": [{"name": name, "context": {"cluster": f"c-{name}", "user": f"u-{name}", **extra["context"]}}],
        "current-context": name,
        **fields,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def authorization(cluster: Cluster) -> str | None:
    settings = cluster.api.configuration.auth_settings()
    return settings["BearerToken"]["value"] if settings else None


def listed(monkeypatch: pytest.MonkeyPatch, *files: Path | str) -> Cluster:
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    return connect()


def test_the_first_file_that_names_a_current_context_decides(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(directory / "a", name="first", server="https://192.0.2.1:6443")
    second = written(directory / "b", name="second", server="https://192.0.2.2:6443")
    assert listed(monkeypatch, first, second).address == "https://192.0.2.1:6443"
    assert listed(monkeypatch, second, first).address == "https://192.0.2.2:6443"


def test_of_two_entries_of_one_name_the_first_counts_whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(directory / "a", server="https://192.0.2.1:6443")
    second = written(directory / "b", cluster={"tls-server-name": "other"}, context={"namespace": "other"})
    cluster = listed(monkeypatch, first, second)
    assert (cluster.address, cluster.namespace) == ("https://192.0.2.1:6443", "default")
    assert cluster.api.configuration.tls_server_name is None


def test_one_file_each_for_clusters_users_and_contexts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = yaml.safe_load(written(directory / "whole", user={"token": TOKEN}).read_text())
    parts = []
    for key in ("clusters", "users", "contexts"):
        parts.append(directory / key)
        parts[-1].write_text(yaml.safe_dump({key: whole[key]}))
    (directory / "current").write_text("current-context: x\n")
    cluster = listed(monkeypatch, *parts, directory / "current")
    assert (cluster.address, authorization(cluster)) == ("https://192.0.2.10:6443", f"Bearer {TOKEN}")


@pytest.mark.parametrize("other", ["", "clusters: null\nusers: null\ncontexts: null\ncurrent-context: ''\n", None])
def test_empty_and_missing_files_of_a_list_say_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    full = written(directory / "full")
    if other is not None:
        (directory / "other").write_text(other)
    assert listed(monkeypatch, directory / "other", full).context == "x"
    assert listed(monkeypatch, full, directory / "other", "").context == "x"


def test_paths_are_relative_to_the_file_that_names_them(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "sub").mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        (directory / "sub" / name).write_text("certificate")
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    file = written(directory / "sub" / "config", user=user, cluster={"certificate-authority": "ca.crt"})
    (directory / "empty").write_text("")
    configuration = listed(monkeypatch, directory / "empty", file.relative_to(directory)).api.configuration
    assert configuration.ssl_ca_cert == str(directory / "sub" / "ca.crt")
    assert configuration.cert_file == str(directory / "sub" / "client.crt")
    assert configuration.key_file == str(directory / "sub" / "client.key")


def test_certificates_in_the_file_itself(directory: Path) -> None:
    data = base64.b64encode(b"certificate").decode()
    user = {"client-certificate-data": data, "client-key-data": data}
    file = written(directory / "config", user=user, cluster={"certificate-authority-data": data})
    configuration = connect(kubeconfig=str(file)).api.configuration
    for path in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        assert Path(path).read_text() == "certificate"
        assert Path(path).stat().st_mode & 0o077 == 0


def test_a_context_by_name_and_its_namespace(directory: Path) -> None:
    file = str(written(directory / "config", context={"namespace": "team"}))
    assert connect(kubeconfig=file, context="x").namespace == "team"
    assert connect(kubeconfig=file, namespace="mine").namespace == "mine"
    with pytest.raises(UsageError, match="has no context 'y'; --context can be: x"):
        connect(kubeconfig=file, context="y")


@pytest.mark.parametrize("namespace", ["../kube-system", "Team", "a" * 64, "a b"])
def test_what_cannot_be_a_namespace_is_refused(directory: Path, namespace: str) -> None:
    with pytest.raises(UsageError, match="can't be a namespace"):
        connect(kubeconfig=str(written(directory / "config")), namespace=namespace)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a list\n", "should be a mapping"),
        ("a: [\n", "not YAML in line 2"),
        ("contexts: {}\n", "contexts should be a list"),
        ("contexts: [x]\n", "contexts should be a list of mappings"),
        ("contexts: [{name: x, context: {}}, {name: x, context: {}}]\n", "two entries of the name 'x'"),
        ("contexts: [{name: 1, context: {}}]\n", "name should be text"),
        ("users: [{name: u, user: text}]\n", "user of 'u' should be a mapping"),
        ("kind: Pod\n", "kind: Config"),
    ],
)
def test_a_file_that_is_not_a_kubeconfig_is_named(directory: Path, text: str, problem: str) -> None:
    (directory / "config").write_text(text)
    with pytest.raises(MissingInputError, match=f"config is not a usable kubeconfig: .*{problem}"):
        connect(kubeconfig="config")


def test_a_directory_in_the_list_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingInputError, match="Is a directory"):
        listed(monkeypatch, directory, written(directory / "config"))


@pytest.mark.parametrize("text", ["good\n", "good", " good \r\n"])
def test_a_token_file_ends_as_editors_end_files(directory: Path, text: str) -> None:
    (directory / "token").write_bytes(text.encode())
    cluster = connect(kubeconfig=str(written(directory / "config", user={"tokenFile": "token"})))
    assert authorization(cluster) == "Bearer good"
    (directory / "token").write_text("renewed\n")
    assert authorization(cluster) == "Bearer renewed"


@pytest.mark.parametrize("token", [f"{TOKEN}\n{TOKEN}", f"{TOKEN} b", f"{TOKEN}\x07", f"{TOKEN}é"])
@pytest.mark.parametrize("key", ["token", "tokenFile"])
def test_a_token_is_never_printed(directory: Path, key: str, token: str) -> None:
    (directory / "token").write_text(token)
    file = written(directory / "config", user={key: token if key == "token" else "token"})
    with pytest.raises(MissingInputError, match="the token of user 'u-x'") as refusal:
        connect(kubeconfig=str(file))
    assert TOKEN not in str(refusal.value)


def test_yaml_that_breaks_in_a_token_does_not_print_it(directory: Path) -> None:
    (directory / "config").write_text(f"users:\n- name: u\n  user: {{token: {TOKEN}: {TOKEN}\n")
    with pytest.raises(MissingInputError, match="not YAML") as refusal:
        connect(kubeconfig="config")
    assert TOKEN not in str(refusal.value)


def test_a_password(directory: Path) -> None:
    cluster = connect(kubeconfig=str(written(directory / "config", user={"username": "a", "password": "b"})))
    assert authorization(cluster) == "Basic " + base64.b64encode(b"a:b").decode()


def test_no_credentials_are_sent_in_clear_to_another_machine(directory: Path) -> None:
    def sent(server: str) -> str | None:
        return authorization(connect(kubeconfig=str(written(directory / "c", server=server, user={"token": TOKEN}))))

    assert sent("http://192.0.2.10:8080") is None
    assert sent("http://127.0.0.1:8001") == f"Bearer {TOKEN}"


def test_acting_as_another_user(directory: Path) -> None:
    file = written(directory / "config", user={"token": TOKEN, "as": "ann", "as-groups": ["ml"]})
    headers = connect(kubeconfig=str(file)).api.default_headers
    assert (headers["Impersonate-User"], headers["Impersonate-Group"]) == ("ann", "ml")
    with pytest.raises(MissingInputError, match="several groups"):
        connect(kubeconfig=str(written(directory / "config", user={"as": "ann", "as-groups": ["a", "b"]})))


def test_a_servers_name_and_its_authority(directory: Path) -> None:
    cluster = {"tls-server-name": "api.example", "insecure-skip-tls-verify": True}
    configuration = connect(kubeconfig=str(written(directory / "config", cluster=cluster))).api.configuration
    assert (configuration.tls_server_name, configuration.verify_ssl) == ("api.example", False)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"cluster": {"certificate-authority": "no-such.crt"}},
            "cannot read .*/no-such.crt, the certificate-authority",
        ),
        ({"cluster": {"certificate-authority-data": "%"}}, "certificate-authority-data of cluster 'c-x' is not base64"),
        ({"cluster": {"certificate-authority": "config", "certificate-authority-data": "YQ=="}}, "has both"),
        ({"cluster": {"certificate-authority": "config", "insecure-skip-tls-verify": True}}, "has both"),
        ({"user": {"client-certificate": "config"}}, "no client-key"),
        ({"user": {"token": TOKEN, "username": "a"}}, "both a token and a password"),
        ({"user": {"tokenFile": "no-such"}}, "cannot read .*/no-such, the tokenFile of user 'u-x'"),
        ({"server": ""}, "no cluster 'c-x' with a server"),
        ({"server": "https://"}, "isn't an address"),
        ({"server": "ftp://192.0.2.1"}, "isn't an address"),
        ({"server": "https://192.0.2.1:99999"}, "isn't an address"),
        ({"clusters": []}, "no cluster 'c-x' with a server"),
    ],
)
def test_what_does_not_fit_together_is_named(directory: Path, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(MissingInputError, match=problem):
        connect(kubeconfig=str(written(directory / "config", **fields)))  # type: ignore[arg-type]


def test_a_list_without_a_current_context_lists_what_there_is(directory: Path) -> None:
    with pytest.raises(UsageError, match="names no current context; --context can be: x"):
        connect(kubeconfig=str(written(directory / "config", **{"current-context": ""})))


def test_nothing_at_all(directory: Path) -> None:
    with pytest.raises(MissingInputError, match="name one with --kubeconfig"):
        connect()
    with pytest.raises(MissingInputError, match="there is no kubeconfig no-such"):
        connect(kubeconfig="no-such")


def plugin(directory: Path, script: str, **fields: object) -> Path:
    """A kubeconfig whose user asks a plugin for credentials."""
    (directory / "plugin").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "plugin").chmod(0o755)
    entry = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", **fields}
    return written(directory / "config", user={"exec": entry})


def credential(**status: str) -> str:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"echo '{json.dumps(answer)}'"


def test_a_plugin_beside_the_kubeconfig_gives_the_token(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = plugin(directory, credential(token=TOKEN))
    (directory / "elsewhere").mkdir()
    monkeypatch.chdir(directory / "elsewhere")
    assert authorization(connect(kubeconfig=str(file))) == f"Bearer {TOKEN}"


def test_a_plugin_is_asked_again_when_its_token_has_expired(directory: Path) -> None:
    once = credential(token="old", expirationTimestamp="2000-01-01T00:00:00Z")
    file = plugin(directory, f"if [ -e {directory}/asked ]; then {credential(token='new')}; else {once}; fi; "
                             f"touch {directory}/asked")  # fmt: skip
    assert authorization(connect(kubeconfig=str(file))) == "Bearer new"


@pytest.mark.parametrize(
    ("script", "fields", "said"),
    [
        ("echo 'session expired, run: corp login' >&2; exit 1", {}, "session expired, run: corp login"),
        ("echo nonsense", {}, "failed"),
        (credential(), {}, "gave no credentials"),
        ("", {"command": "no-such-plugin", "installHint": "brew install it"}, "not installed.*brew install it"),
    ],
)
def test_a_plugin_that_fails_is_quoted(directory: Path, script: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(PermissionDeniedError, match=said):
        connect(kubeconfig=str(plugin(directory, script, **fields)))


def test_a_proxy_url_outweighs_the_environment(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.99:1")
    monkeypatch.setenv("NO_PROXY", "*")
    file = written(directory / "config", cluster={"proxy-url": "http://u:p%40@192.0.2.50:3128"})
    configuration = connect(kubeconfig=str(file)).api.configuration
    assert configuration.proxy == "http://u:p%40@192.0.2.50:3128"
    assert configuration.proxy_headers == {"proxy-authorization": "Basic " + base64.b64encode(b"u:p@").decode()}


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"HTTPS_PROXY": "127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"https_proxy": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"HTTP_PROXY": "http://127.0.0.1:1"}, None),
        ({"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "192.0.2.10"}, None),
        ({"HTTPS_PROXY": "http://127.0.0.1:1", "no_proxy": "192.0.2.0/24"}, None),
    ],
)
def test_the_environments_proxy(
    directory: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cluster = connect(kubeconfig=str(written(directory / "config")))
    assert cluster.api.configuration.proxy == proxy
    assert type(cluster.api.rest_client.pool_manager).__name__ == ("ProxyManager" if proxy else "PoolManager")


@pytest.mark.parametrize(
    ("proxy", "error"), [("socks5://127.0.0.1:1", UnavailableError), ("http://a:99999", UsageError)]
)
def test_a_proxy_that_cannot_be_used_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, error: type[Phi3kError]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(error, match="HTTPS_PROXY"):
        connect(kubeconfig=str(written(directory / "config")))
