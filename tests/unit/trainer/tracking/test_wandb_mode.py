"""`auto` goes online only with a key and a server that knows it; everything else is offline, with the reason."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import certifi
import pytest

from phi3k_trainer.certificates import certificates_problem
from phi3k_trainer.recipe.training import WandbSection
from phi3k_trainer.tracking import wandb_mode
from phi3k_trainer.tracking.wandb_mode import api_key, choose_mode, credentials_problem, server_address

KEY = "k" * 40


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CONFIG_DIR", "PHI3K_PLAIN_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A loopback server that answers every question with the status and body of the parameter."""
    status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


KNOWN = (200, json.dumps({"data": {"viewer": {"id": "1"}}}))


@pytest.mark.parametrize(
    ("server", "mode", "reason"),
    [
        (KNOWN, "online", "knows the key"),
        ((200, json.dumps({"data": {"viewer": None}})), "offline", "does not know the key"),
        ((401, ""), "offline", "refuses the key"),
        ((503, ""), "offline", "status 503"),
        ((200, "<html>hello</html>"), "offline", "does not answer like a W&B server"),
    ],
    indirect=["server"],
)
def test_auto_believes_only_a_server_that_knows_the_key(
    server: str, mode: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    choice = choose_mode(WandbSection(base_url=server))
    assert choice.mode == mode
    assert reason in choice.reason


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_without_a_key_nobody_is_asked(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    choice = choose_mode(WandbSection.model_validate({"mode": mode, "base_url": "http://127.0.0.1:9"}))
    assert choice.mode == "offline"
    assert "WANDB_API_KEY" in choice.reason


@pytest.mark.parametrize("mode", ["offline", "off"])
def test_the_recipe_can_keep_a_run_off_the_network(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert choose_mode(WandbSection.model_validate({"mode": mode})).mode == mode


@pytest.mark.parametrize(("variable", "mode"), [("offline", "offline"), ("disabled", "off"), ("dryrun", "offline")])
def test_auto_obeys_wandb_mode(variable: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert choose_mode(WandbSection()).mode == mode


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_mode, "PROBE_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        choice = choose_mode(WandbSection())
    assert choice.mode == "offline"
    assert time.monotonic() - started < 3


def test_the_key_comes_from_the_environment_or_the_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_key("https://api.wandb.ai") is None
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password from-netrc\n")
    assert api_key("https://api.wandb.ai") == "from-netrc"
    assert api_key("https://wandb.example") is None
    monkeypatch.setenv("WANDB_API_KEY", "from-environment")
    assert api_key("https://api.wandb.ai") == "from-environment"
    assert api_key("https://wandb.example") is None
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example/")
    assert api_key("https://wandb.example") == "from-environment"


@pytest.mark.parametrize("mode", ["auto", "online"])
@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_server_that_only_the_recipe_names_is_sent_nothing(
    mode: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        choice = choose_mode(WandbSection.model_validate({"mode": mode, "base_url": address}))
        listening.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listening.accept()
    assert choice.mode == "offline"
    assert f"set WANDB_BASE_URL={address}" in choice.reason


@pytest.mark.parametrize("other", ["https://wandb.example:8443", "http://wandb.example", "https://wandb.example.evil"])
def test_another_port_scheme_or_host_is_another_server(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert api_key(other) is None
    assert choose_mode(WandbSection(base_url=other)).mode == "offline"


def test_the_server_of_wandb_login_is_named_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".config/wandb").mkdir(parents=True)
    (tmp_path / ".config/wandb/settings").write_text("[default]\nbase_url = https://wandb.example\n")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert api_key("https://wandb.example") == KEY
    assert server_address(WandbSection()) == "https://wandb.example"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("http://wandb.example:8080", False),
        ("http://10.0.0.1:8080", False),
        ("https://wandb.example", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("http://wandb.tools.svc:8080", True),
        ("http://wandb.tools.svc.cluster.local", True),
        ("http://wandb.tools.svc.evil.example", False),
    ],
)
def test_a_key_goes_in_clear_only_within_the_machine_or_the_cluster(
    address: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", address)
    assert (credentials_problem(address) is None) == allowed
    monkeypatch.setenv("PHI3K_PLAIN_HTTP", "1")
    assert credentials_problem(address) is None


def test_a_damaged_netrc_file_holds_no_key(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine api.wandb.ai password\nbogus line")
    assert api_key("https://api.wandb.ai") is None


@pytest.mark.parametrize("server", [KNOWN], indirect=True)
@pytest.mark.parametrize("written", [f"{KEY}\n", f" {KEY}\r\n"])
def test_white_space_around_the_key_is_not_a_part_of_it(
    server: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", written)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    choice = choose_mode(WandbSection())
    assert choice.mode == "online"
    assert choice.server is not None
    assert choice.server.key == KEY


def test_white_space_within_the_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", f"{KEY}\n{KEY}\n")
    choice = choose_mode(WandbSection(mode="online"))
    assert choice.mode == "offline"
    assert "white space" in choice.reason


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_can_not_be_used_is_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("WANDB_BASE_URL", "https://127.0.0.1:9")
    choice = choose_mode(WandbSection())
    assert choice.mode == "offline"
    assert "SSL_CERT_FILE" in choice.reason
    assert str(file) in choice.reason


def test_certificates_that_can_be_used_are_not_blamed_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert certificates_problem() is None
    monkeypatch.setenv("WANDB_BASE_URL", "https://127.0.0.1:9")
    assert "can't be reached" in choose_mode(WandbSection()).reason
