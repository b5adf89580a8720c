"""What a user gets wrong or finds broken: one clear message, the documented exit code, and nothing left behind."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.cluster.cluster import Cluster

from .command import Command
from .conftest import new_namespace


@pytest.fixture(scope="module")
def phi3k(cluster: Cluster) -> Iterator[Command]:
    with new_namespace(cluster) as name:
        yield Command(cluster, name, str(cluster.kubeconfig))


@pytest.fixture(autouse=True)
def nothing_left(phi3k: Command) -> Iterator[None]:
    yield
    assert phi3k.objects() == []


def changed_kubeconfig(cluster: Cluster, path: Path, section: str, **values: object) -> str:
    """The cluster's kubeconfig with other values in its only cluster, context or user."""
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    content[f"{section}s"][0][section] = {**content[f"{section}s"][0][section], **values}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def as_user(cluster: Cluster, path: Path, **user: Any) -> str:
    """The cluster's kubeconfig with another user."""
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    content["users"][0]["user"] = user
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_no_kubeconfig_at_all(
    phi3k: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from phi3k.main import main

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main(["submit", "demo"]) == 66
    assert "and this is not a pod: name one with --kubeconfig" in capsys.readouterr().err


def test_a_kubeconfig_that_is_not_there(phi3k: Command) -> None:
    result = Command(phi3k.cluster, phi3k.namespace, "/nowhere/config")("list")
    assert result.code == 66
    assert "there is no kubeconfig /nowhere/config" in result.err


@pytest.mark.parametrize("content", ["", "a: [1", "just words", "contexts: 3", "clusters: []\ncontexts: []\nusers: []"])
def test_a_file_that_is_no_kubeconfig(phi3k: Command, tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    result = Command(phi3k.cluster, phi3k.namespace, str(tmp_path / "config"))("list")
    assert result.code in (64, 66)
    assert str(tmp_path / "config") in result.err
    assert len(result.err.splitlines()) == 1


def test_a_context_that_is_not_there(phi3k: Command) -> None:
    result = phi3k("list", "--context", "prod")
    assert result.code == 64
    assert "has no context 'prod'; --context can be: " in result.err


def test_a_server_that_nobody_listens_at(phi3k: Command, tmp_path: Path) -> None:
    config = changed_kubeconfig(phi3k.cluster, tmp_path / "config", "cluster", server="https://127.0.0.1:9")
    result = Command(phi3k.cluster, phi3k.namespace, config)("submit", "demo")
    assert result.code == 69
    assert "at https://127.0.0.1:9 does not answer: " in result.err
    assert "Connection refused" in result.err


def test_a_server_that_accepts_and_never_answers(phi3k: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"https://127.0.0.1:{listener.getsockname()[1]}"
        config = changed_kubeconfig(phi3k.cluster, tmp_path / "config", "cluster", server=server)
        began = time.monotonic()
        result = Command(phi3k.cluster, phi3k.namespace, config)("list")
        assert time.monotonic() - began < 15
    assert result.code == 69
    assert f"at {server} does not answer" in result.err
    assert "timed out" in result.err


def test_a_server_with_anothers_certificate(phi3k: Command, tmp_path: Path) -> None:
    config = as_user(phi3k.cluster, tmp_path / "config", token="any")
    content = yaml.safe_load(Path(config).read_text())
    content["clusters"][0]["cluster"].pop("certificate-authority-data", None)
    content["clusters"][0]["cluster"].pop("certificate-authority", None)
    Path(config).write_text(yaml.safe_dump(content))
    result = Command(phi3k.cluster, phi3k.namespace, config)("list")
    assert result.code == 69
    assert "certificate verify failed" in result.err


def test_credentials_that_have_expired(phi3k: Command, tmp_path: Path) -> None:
    token = phi3k.cluster.kubectl("create", "token", "default", "--namespace", phi3k.namespace).strip()
    head, payload, signature = token.split(".")
    stale = f"{head}.{payload}.{signature[::-1]}"
    config = as_user(phi3k.cluster, tmp_path / "config", token=stale)
    result = Command(phi3k.cluster, phi3k.namespace, config)("submit", "demo")
    assert result.code == 77
    assert "are not accepted (expired?): log in again" in result.err


def test_an_exec_plugin_that_fails(phi3k: Command, tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/nowhere/cloud-login",
        "interactiveMode": "Never",
    }
    config = as_user(phi3k.cluster, tmp_path / "config", exec=plugin)
    result = Command(phi3k.cluster, phi3k.namespace, config)("list")
    assert result.code == 77
    assert "/nowhere/cloud-login" in result.err
    assert "is not installed" in result.err


def test_an_exec_plugin_that_works(phi3k: Command, tmp_path: Path) -> None:
    token = phi3k.cluster.kubectl("create", "token", "default", "--namespace", phi3k.namespace).strip()
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    plugin = tmp_path / "cloud-login"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(0o755)
    section = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    config = as_user(phi3k.cluster, tmp_path / "config", exec=section)
    result = Command(phi3k.cluster, phi3k.namespace, config)("list")
    assert result.code == 77
    assert f"system:serviceaccount:{phi3k.namespace}:default" in result.err


@pytest.mark.parametrize("verb", ["submit", "list", "status", "logs", "wait", "cancel", "suspend", "resume"])
def test_a_user_without_the_role(phi3k: Command, tmp_path: Path, verb: str) -> None:
    token = phi3k.cluster.kubectl("create", "token", "default", "--namespace", phi3k.namespace).strip()
    config = as_user(phi3k.cluster, tmp_path / "config", token=token)
    arguments = {"submit": ("demo",), "list": ()}.get(verb, ("some-run",))
    result = Command(phi3k.cluster, phi3k.namespace, config)(verb, *arguments)
    assert result.code == 77
    assert "cannot" in result.err
    assert "docs/cluster.md has the role" in result.err


@pytest.mark.parametrize(
    "arguments", [("submit", "demo"), ("list",), ("status", "some-run"), ("cancel", "some-run", "--yes")]
)
def test_a_namespace_that_is_not_there(phi3k: Command, arguments: tuple[str, ...]) -> None:
    result = Command(phi3k.cluster, "no-such-namespace", phi3k.kubeconfig)(*arguments)
    assert result.code == 66
    assert "no-such-namespace" in result.err
    assert "--namespace" in result.err


@pytest.mark.parametrize("verb", ["status", "logs", "wait", "cancel", "suspend", "resume"])
def test_a_run_that_is_not_there(phi3k: Command, verb: str) -> None:
    result = phi3k(verb, "missing")
    assert result.code == 66
    assert f"there is no run missing in namespace {phi3k.namespace}" in result.err
    assert "phi3k list" in result.err


def test_a_name_that_is_no_dns_label(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--name", "My_Run")
    assert result.code == 78
    assert "name" in result.err


def test_gpus_that_do_not_divide(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--gpus", "12")
    assert result.code == 78
    assert "ask for 8 or 16" in result.err


@pytest.fixture
def quota(phi3k: Command) -> Iterator[None]:
    hard = {"requests.nvidia.com/gpu": "4", "count/jobs.batch": "0"}
    manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}}
    phi3k.cluster.kubectl("create", "-f", "-", "--namespace", phi3k.namespace, manifest=manifest)
    is_counted = ("--for=jsonpath={.status.hard.count/jobs\\.batch}=0", "--timeout=30s")
    phi3k.cluster.kubectl("wait", "resourcequota/team", *is_counted, "--namespace", phi3k.namespace)
    yield
    phi3k.cluster.kubectl("delete", "resourcequota", "team", "--namespace", phi3k.namespace)


def test_more_gpus_than_the_quota(phi3k: Command, quota: None) -> None:
    result = phi3k("submit", "demo", "--gpus", "8")
    assert result.code == 78
    assert f"asks for 8 nvidia.com/gpu, but the quota team of namespace {phi3k.namespace} allows 4" in result.err


def test_a_quota_that_allows_no_more_jobs(phi3k: Command, quota: None) -> None:
    result = phi3k("submit", "demo", "--gpus", "0", "--kind", "job")
    assert result.code == 78
    assert "exceeded quota: team" in result.err


def test_a_storage_class_that_is_not_there(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--set", "cluster.runs.storage_class=fast")
    assert result.code == 78
    assert "there is no storage class fast for the claim phi3k-runs" in result.err


def test_a_claim_that_is_not_there_and_shall_not_be_made(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--set", "cluster.runs.create=false")
    assert result.code == 78
    assert "there is no claim phi3k-runs" in result.err


def test_a_queue_that_is_not_there(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--set", "cluster.queue=team-a")
    assert result.code == 78
    assert "no local queue team-a; it has: none" in result.err


def test_a_secret_that_is_not_there(phi3k: Command) -> None:
    result = phi3k("submit", "demo", "--set", "cluster.hf_secret=hub", "--dry-run")
    assert result.code == 78
    assert "kubectl create secret generic hub --from-literal=HF_TOKEN=" in result.err
