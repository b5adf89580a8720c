"""Whatever the kubeconfigs and variables say, phi3k acts on the cluster that kubectl acts on. No cluster is needed."""

import json
import os
import socket
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools.cluster.tools import KUBERNETES, build

from phi3k_jobs.api.connection import connect
from phi3k_jobs.api.kubeconfig import kubeconfig_files, read_kubeconfig
from phi3k_trainer.errors import MissingInputError, Phi3kError

SERVER = "https://192.0.2.10:6443"
EMPTY_ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return build(KUBERNETES) / "kubectl"


def run(kubectl: Path, directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**EMPTY_ENVIRONMENT, "HOME": str(directory), **variables}
    return subprocess.run(
        [str(kubectl), *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def write(directory: Path, texts: list[str]) -> str:
    """Write the files, and return them as KUBECONFIG's list."""
    for number, text in enumerate(texts):
        (directory / f"{number}.yaml").write_text(text)
    return ":".join(f"{number}.yaml" for number in range(len(texts)))


def seen_by_kubectl(kubectl: Path, directory: Path, listed: str) -> dict[str, Any] | None:
    """The merged kubeconfig by sections and names, None where kubectl refuses a file."""
    result = run(kubectl, directory, "config", "view", "--raw", "-o", "json", KUBECONFIG=listed)
    if result.returncode != 0:
        return None
    view = json.loads(result.stdout)
    sections = {"clusters": "cluster", "users": "user", "contexts": "context"}
    return {
        "current-context": view.get("current-context") or "",
        **{
            section: {entry["name"]: without_empty(entry[key]) for entry in view.get(section) or []}
            for section, key in sections.items()
        },
    }


def seen_by_phi3k(directory: Path, listed: str) -> dict[str, Any] | None:
    """The same as phi3k reads it, with paths below the directory made relative again, as kubectl shows them."""
    files = [directory / file for file in kubeconfig_files(None, {"KUBECONFIG": listed})]
    try:
        merged = read_kubeconfig(files)
    except MissingInputError:
        return None
    sections = {section: getattr(merged, section) for section in ("clusters", "users", "contexts")}
    return {
        "current-context": merged.current_context,
        **{
            section: json.loads(
                json.dumps({name: without_empty(entry) for name, entry in entries.items()}).replace(f"{directory}/", "")
            )
            for section, entries in sections.items()
        },
    }


def without_empty(entry: dict[str, Any]) -> dict[str, Any]:
    filled = {key: without_empty(value) if isinstance(value, dict) else value for key, value in entry.items()}
    return {key: value for key, value in filled.items() if value}


TEXTS = {
    "whole": f"""
clusters: [{{name: c, cluster: {{server: "{SERVER}", certificate-authority: sub/ca.crt}}}}]
users: [{{name: u, user: {{tokenFile: token, client-certificate: ../u.crt, client-key: /etc/u.key}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u, namespace: team}}}}]
current-context: x
""",
    "other": """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.20:6443", tls-server-name: other}}]
users: [{name: u, user: {token: other}}]
contexts: [{name: x, context: {cluster: c, user: u}}, {name: z, context: {cluster: c, user: u}}]
current-context: z
""",
    "null": "clusters: null\nusers: null\ncontexts: null\ncurrent-context: ''\n",
    "empty": "",
    "current": "current-context: w\n",
    "plugin": "users: [{name: p, user: {exec: {command: plugin, apiVersion: client.authentication.k8s.io/v1, "
    "interactiveMode: Never}}}]\n",
    "entries of null": "clusters: [{name: m, cluster: null}]\n",
    "entries without name": "clusters: [{cluster: {server: a}}]\n",
    "twice": "users: [{name: u, user: {}}, {name: u, user: {}}]\n",
    "number": "users: [{name: 1, user: {}}]\n",
    "list": "- a\n",
    "text": "just text\n",
    "broken": "a: [\n",
    "comment": "# nothing\n",
    "blank": " \n",
    "null document": "null\n",
    "a list in a mapping's place": "contexts: {}\n",
    "another kind": "apiVersion: v1\nkind: Pod\n",
    "another version": "apiVersion: v2\nkind: Config\n",
    "unknown fields": "clusters: []\nwhatever: 1\n",
}


@pytest.mark.parametrize("first", TEXTS)
@pytest.mark.parametrize("second", ["whole", "other", "null", "empty"])
def test_two_files_are_merged_as_kubectl_merges_them(kubectl: Path, tmp_path: Path, first: str, second: str) -> None:
    listed = write(tmp_path, [TEXTS[first], TEXTS[second]])
    assert seen_by_phi3k(tmp_path, listed) == seen_by_kubectl(kubectl, tmp_path, listed)


@pytest.mark.parametrize(
    "listed", ["no-such:0.yaml", "0.yaml:no-such", ":0.yaml:", "0.yaml:0.yaml", "no-such", ".", "~/0.yaml"]
)
def test_lists_are_read_as_kubectl_reads_them(kubectl: Path, tmp_path: Path, listed: str) -> None:
    write(tmp_path, [TEXTS["whole"]])
    assert seen_by_phi3k(tmp_path, listed) == seen_by_kubectl(kubectl, tmp_path, listed)


def test_paths_are_resolved_as_kubectl_resolves_them(kubectl: Path, tmp_path: Path) -> None:
    """Flattened, kubectl's view has the content of the files that the entries name."""
    for place in ("a", "b/c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config").write_text(TEXTS["whole"].replace("/etc/u.key", "./u.key").replace("x", place[0]))
    contents = {
        "a/sub/ca.crt": "1",
        "b/c/sub/ca.crt": "2",
        "u.crt": "3",
        "b/u.crt": "4",
        "a/u.key": "5",
        "b/c/u.key": "6",
    }
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    for listed in ("a/config:b/c/config", "b/c/config:a/config"):
        flattened = run(kubectl, tmp_path, "config", "view", "--raw", "--flatten", "-o", "json", KUBECONFIG=listed)
        view = json.loads(flattened.stdout)
        merged = read_kubeconfig([tmp_path / file for file in listed.split(":")])
        for section, key, name in (("clusters", "cluster", "certificate-authority"), ("users", "user", "client-key")):
            shown = {entry["name"]: b64decode(entry[key][f"{name}-data"]).decode() for entry in view[section]}
            ours = {entry: Path(content[name]).read_text() for entry, content in getattr(merged, section).items()}
            assert ours == shown


NAMES = st.sampled_from(["a", "b"])
PLACES = st.sampled_from(["https://a:1", "https://b:2", "", None])
FIELDS = {
    "clusters": (
        "cluster",
        {"server": PLACES, "proxy-url": PLACES, "certificate-authority": st.sampled_from(["ca", ""])},
    ),
    "users": ("user", {"token": st.sampled_from(["t", "s", ""]), "tokenFile": st.sampled_from(["f", "/f", "../f"])}),
    "contexts": ("context", {"cluster": NAMES, "user": NAMES, "namespace": st.sampled_from(["one", "two", ""])}),
}


@st.composite
def kubeconfigs(draw: st.DrawFn) -> str:
    document: dict[str, object] = {}
    for section, (key, fields) in FIELDS.items():
        entry = st.fixed_dictionaries({"name": NAMES, key: st.fixed_dictionaries({}, optional=fields) | st.none()})
        document[section] = draw(st.lists(entry, max_size=2) | st.none())
    document["current-context"] = draw(st.sampled_from(["a", "b", "", None]))
    kept = draw(st.sets(st.sampled_from(sorted(document))))
    return yaml.safe_dump({name: document[name] for name in kept}) if kept else ""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(kubeconfigs(), min_size=1, max_size=3))
def test_any_files_are_merged_as_kubectl_merges_them(kubectl: Path, tmp_path: Path, texts: list[str]) -> None:
    listed = write(tmp_path, texts)
    assert seen_by_phi3k(tmp_path, listed) == seen_by_kubectl(kubectl, tmp_path, listed)


class Recorder:
    """Listens on a port of this machine, keeps the first line that each connection sends, and hangs up."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.lines.append(connection.recv(4096).decode(errors="replace"))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.mark.parametrize(
    ("server", "cluster", "variables"),
    [
        (SERVER, {}, {}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY"}),
        (SERVER, {}, {"HTTPS_PROXY": "PROXY"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://u:p%40@PROXY"}),
        (SERVER, {}, {"https_proxy": "http://PROXY"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "https_proxy": "http://127.0.0.1:1"}),
        (SERVER, {}, {"HTTP_PROXY": "http://PROXY"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "192.0.2.10"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "192.0.2.10:443"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "192.0.2.10:6443"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "no_proxy": " 10.0.0.0/8, 192.0.2.0/24"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "*"}),
        (SERVER, {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "192.0.2"}),
        (SERVER, {"proxy-url": "http://PROXY"}, {"NO_PROXY": "*"}),
        (SERVER, {"proxy-url": "http://PROXY"}, {"HTTPS_PROXY": "http://127.0.0.1:1"}),
        ("https://127.0.0.2:1", {}, {"HTTPS_PROXY": "http://PROXY"}),
        ("https://localhost:1", {}, {"HTTPS_PROXY": "http://PROXY"}),
        ("https://api.test.invalid:6443", {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": ".invalid"}),
        ("https://api.test.invalid:6443", {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "*.test.invalid"}),
        ("https://api.test.invalid:6443", {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "st.invalid"}),
        ("https://API.test.invalid", {}, {"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "api.TEST.invalid:443"}),
        ("192.0.2.10:8080", {}, {"HTTP_PROXY": "http://PROXY"}),
        ("http://192.0.2.10:8080/", {}, {"HTTPS_PROXY": "http://PROXY"}),
    ],
)
def test_requests_take_the_proxy_that_kubectls_take(
    kubectl: Path,
    tmp_path: Path,
    proxy: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    cluster: dict[str, str],
    variables: dict[str, str],
) -> None:
    """The proxy notes who came: the same request line and the same credentials for it, or nobody."""
    text = yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    ).replace("PROXY", proxy.address)
    variables = {name: value.replace("PROXY", proxy.address) for name, value in variables.items()}
    listed = write(tmp_path, [text])
    run(kubectl, tmp_path, "get", "--raw", "/version", "--request-timeout=1s", KUBECONFIG=listed, **variables)
    kubectls = [heading(line) for line in proxy.lines[:1]]
    proxy.lines.clear()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Phi3kError):
        connect(kubeconfig=str(tmp_path / "0.yaml")).request("GET", "/version")
    assert [heading(line) for line in proxy.lines[:1]] == kubectls


def heading(request: str) -> tuple[str, list[str]]:
    lines = request.lower().splitlines()
    return lines[0].partition(" http/")[0].partition("?")[0], [
        line for line in lines if line.startswith("proxy-authorization")
    ]
