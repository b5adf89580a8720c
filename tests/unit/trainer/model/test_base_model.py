"""Where a model comes from: a directory, the hub, or a clear answer why from neither."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, Phi3kError, UnavailableError
from phi3k_trainer.model.loading import hub_id, resolve_base


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve_base(str(tmp_path), None, str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("base", "repository"),
    [
        ("microsoft/Phi-3-vision-128k-instruct", "microsoft/Phi-3-vision-128k-instruct"),
        ("hf://microsoft/Phi-3-vision-128k-instruct", "microsoft/Phi-3-vision-128k-instruct"),
        ("hf://microsoft/Phi-3-vision-128k-instruct@main", "microsoft/Phi-3-vision-128k-instruct"),
        ("hf://buckets/team/model", None),
        ("s3://team/phi3v", None),
        ("gs://team/models/phi3v", None),
    ],
)
def test_only_a_repository_of_the_hub_has_a_hub_id(base: str, repository: str | None) -> None:
    assert hub_id(base) == repository


def test_a_directory_has_no_hub_id(tmp_path: Path) -> None:
    assert hub_id(str(tmp_path)) is None


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(MissingInputError, match="is a file"):
        resolve_base(str(tmp_path / "model.safetensors"), None, str(tmp_path))


@pytest.mark.parametrize("base", ["/no/such/model", "./model", "~/no/such/model", "runs/demo/export/model", "model"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(base: str) -> None:
    with pytest.raises(MissingInputError, match="no such directory"):
        resolve_base(base, None, "/nowhere")


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does about repositories that can't be had."""

    def do_GET(self) -> None:
        code, error = (403, "GatedRepo") if "gated" in self.path else (404, "RepoNotFound")
        if "known" in self.path:
            error = "RevisionNotFound"
        body = json.dumps({"error": error}).encode()
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], Phi3kError]:
    """Look for a repository on a hub of our own, and answer with the error."""

    def ask(endpoint: str, base: str) -> Phi3kError:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(Phi3kError) as raised:
            resolve_base(base, "0123456789abcdef", str(tmp_path))
        return raised.value

    return ask


def test_a_repository_that_is_not_there_is_missing_input(hub: str, ask: Callable[[str, str], Phi3kError]) -> None:
    answer = ask(hub, "owner/absent")
    assert isinstance(answer, MissingInputError)
    assert "neither a directory here nor a repository" in str(answer)


def test_a_gated_repository_says_how_to_get_at_it(hub: str, ask: Callable[[str, str], Phi3kError]) -> None:
    answer = ask(hub, "owner/gated")
    assert isinstance(answer, PermissionDeniedError)
    assert "HF_TOKEN" in str(answer)


def test_a_revision_that_is_not_there_is_named(hub: str, ask: Callable[[str, str], Phi3kError]) -> None:
    answer = ask(hub, "owner/known")
    assert isinstance(answer, MissingInputError)
    assert "'0123456789abcdef'" in str(answer)


def test_a_hub_that_cannot_be_reached_is_unavailable(ask: Callable[[str, str], Phi3kError]) -> None:
    answer = ask("http://127.0.0.1:9", "owner/model")
    assert isinstance(answer, UnavailableError)
    assert "local directory" in str(answer)
