"""Runs report to a real W&B-compatible server (openwandb), and never depend on it."""

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from PIL import Image

from phi3k_trainer.recipe import parse_recipe
from tests.wandb_server import KEY, WandbServer

RUN_ID = "e2e0run1"
PROJECT = "tracked"

RECIPE = f"""
apiVersion: phi3k/v1
name: tracked-run
model: {{base: tiny}}
data: {{source: sample, prompt: "What is this?", answer: "Product: {{title}}"}}
tracking: {{wandb: {{project: {PROJECT}}}}}
"""

# One process of a run: steps FIRST..LAST, then evaluation, table, checkpoint, and the end as it was asked for.
PROCESS = """
import sys
from pathlib import Path
from PIL import Image
from rich.console import Console
from phi3k_trainer.evaluation.predictions import Prediction
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.tracking.start import run_id, start_tracking

directory, first, last, ending = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
recipe = load_recipe(directory / "recipe.yaml", sys.argv[5:])
tracker = start_tracking(recipe, directory / "run", run_id=run_id("e2e0run1"), step=first - 1, total_steps=6,
                         console=Console(file=sys.stdout))
for step in range(first, last + 1):
    tracker.log(step, {"train/loss": 1 / step, "train/tokens_per_second": 100.0})
if ending == "wait":
    print("WAITING", flush=True)
    sys.stdin.readline()
    for step in range(last + 1, 7):
        tracker.log(step, {"train/loss": 1 / step, "train/tokens_per_second": 100.0})
picture = directory / "picture.png"
Image.new("RGB", (40, 30), "teal").save(picture)
tracker.log(last, {"eval/loss": 0.5, "eval/title/exact_match": 0.75})
tracker.log_predictions(last, [Prediction("row-1", (picture,), "What is this?", "Product: Parka", "Product: Coat",
                                          {"title": "Parka"}, {"title": "Coat"})])
checkpoint = directory / f"step-{last:06d}"
checkpoint.mkdir(exist_ok=True)
(checkpoint / "weights.safetensors").write_bytes(b"weights of step %d" % last)
(checkpoint / "MANIFEST.json").write_text("{}")
tracker.log_checkpoint(checkpoint, ["latest", "best", f"step-{last}"])
if ending == "preempted":
    tracker.preempting()
tracker.finish(143 if ending == "preempted" else 0)
print("FINISHED")
"""


@dataclass(frozen=True)
class Server(WandbServer):
    """A running openwandb and its process."""

    process: subprocess.Popen[bytes]


@dataclass
class Recorder:
    """Passes every request on to the real server and every answer back, and keeps what GraphQL was asked."""

    target: str
    url: str = ""
    documents: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The variables of each GraphQL request for an operation."""
        return [document["variables"] for document in self.documents if document.get("operationName") == operation]

    def forward(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass one request on, under the name by which the client knows the server."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.path == "/graphql":
            self.documents.append(json.loads(body))
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "accept-encoding"}
        answer = httpx.request(handler.command, self.target + handler.path, content=body, headers=headers, timeout=30)
        handler.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name not in ("connection", "transfer-encoding"):
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(answer.content)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(check: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.2)
    return check()


@contextmanager
def recording(target: str) -> Iterator[Recorder]:
    """A proxy in front of the server `target`, for the block."""
    recorder = Recorder(target)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Requests are kept, not printed."""

        def do_GET(self) -> None:
            recorder.forward(self)

        def do_POST(self) -> None:
            recorder.forward(self)

        def do_PUT(self) -> None:
            recorder.forward(self)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        recorder.url = f"http://127.0.0.1:{proxy.server_port}"
        Thread(target=proxy.serve_forever).start()
        yield recorder
        proxy.shutdown()


def without_empty_mappings(values: dict[str, Any]) -> dict[str, Any]:
    """W&B itself drops mappings without entries."""
    kept = {key: without_empty_mappings(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value != {}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    port, data = free_port(), tmp_path / "server"
    log = (tmp_path / "server.log").open("wb")
    command = [str(Path(sys.executable).with_name("openwandb")), "serve", "--host", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen([*command, "--data-dir", str(data)], stdout=log, stderr=log)
    running = Server(f"http://127.0.0.1:{port}", process)
    try:
        assert eventually(running.is_up, 60), (tmp_path / "server.log").read_text()
        yield running
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def environment(url: str | None, directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    kept |= {"HOME": str(directory), "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
    return kept | ({"WANDB_BASE_URL": url} if url else {})


def run_process(
    directory: Path, url: str | None, first: int, last: int, ending: str = "done", *overrides: str
) -> subprocess.CompletedProcess[str]:
    arguments = [str(directory), str(first), str(last), ending, *overrides]
    return subprocess.run(
        [sys.executable, "-c", PROCESS, *arguments],
        env=environment(url, directory),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_everything_a_run_reports_arrives_at_the_server(server: Server, directory: Path) -> None:
    done = run_process(directory, server.url, 1, 6)
    assert done.returncode == 0, done.stderr
    assert f"W&B is online, because {server.url} knows the key" in done.stdout
    assert f"/runs/{RUN_ID}" in done.stdout, "the address of the run is printed"

    assert server.curve(RUN_ID, "train/loss") == [(step, 1 / step) for step in range(1, 7)]
    assert server.curve(RUN_ID, "eval/title/exact_match") == [(6, 0.75)]

    config = server.config(RUN_ID)
    assert config["recipe"] == without_empty_mappings(parse_recipe(RECIPE).model_dump(mode="json"))
    assert config["environment"]["packages"]["torch"]
    assert config["environment"]["git"]["commit"]

    files = server.files(RUN_ID)
    tables = [Path(path) for name, path in files.items() if "eval/predictions" in name and name.endswith(".table.json")]
    table = json.loads(tables[0].read_text())
    assert table["columns"] == ["step", "key", "picture", "prompt", "target", "answer"]
    step, key, _, *texts = table["data"][0]  # the picture itself lies in the table's artifact
    assert (step, key, texts) == (6, "row-1", ["What is this?", "Product: Parka", "Product: Coat"])
    (sent,) = (Path(path) for name, path in files.items() if "eval/pictures" in name)
    with Image.open(sent) as picture:
        assert picture.size == (40, 30)

    artifacts = server.get(f"/api/v2/runs/{RUN_ID}/artifacts")["artifacts"]
    assert (f"checkpoint-{RUN_ID}", "model") in [(entry["name"], entry["artifact_type"]) for entry in artifacts]


def manifest_digest(directory: Path) -> str:
    """The digest of an artifact of these files: the MD5 of its names with the MD5 of each, as W&B defines it."""
    content = {path.name: hashlib.md5(path.read_bytes()).digest() for path in directory.iterdir()}
    lines = [f"{name}:{base64.b64encode(digest).decode()}\n" for name, digest in sorted(content.items())]
    return hashlib.md5("".join(["wandb-artifact-manifest-v1\n", *lines]).encode()).hexdigest()


def test_a_checkpoint_is_sent_under_its_aliases_as_what_its_files_are(server: Server, directory: Path) -> None:
    """Openwandb forgets aliases, and says of every artifact that it is there already: what is asked of it counts."""
    with recording(server.url) as recorder:
        done = run_process(directory, recorder.url, 1, 6)
    assert done.returncode == 0, done.stderr
    created = [asked["input"] for asked in recorder.asked("CreateArtifact")]
    (checkpoint,) = (entry for entry in created if entry["artifactCollectionName"] == f"checkpoint-{RUN_ID}")
    assert checkpoint["runName"] == RUN_ID
    assert {entry["alias"] for entry in checkpoint["aliases"]} == {"latest", "best", "step-6"}
    assert json.loads(checkpoint["metadata"]) == {"directory": "step-000006"}
    assert checkpoint["digest"] == manifest_digest(directory / "step-000006")


def test_a_restarted_process_continues_the_same_run(server: Server, directory: Path) -> None:
    first = run_process(directory, server.url, 1, 3, "preempted")
    second = run_process(directory, server.url, 4, 6)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr

    assert server.run_ids(PROJECT) == [RUN_ID]
    assert server.curve(RUN_ID, "train/loss") == [(step, 1 / step) for step in range(1, 7)]
    logged = [json.loads(line) for line in (directory / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "train/loss" in line] == [1, 2, 3, 4, 5, 6]


def test_a_server_that_dies_during_the_run_does_not_stop_it(server: Server, directory: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(directory), "1", "3", "wait"],
        env=environment(server.url, directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line == "WAITING\n" for line in process.stdout)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        started = time.monotonic()
        output, errors = process.communicate("go on\n", timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert output.endswith("FINISHED\n"), output
    assert "uploading a checkpoint failed" in output
    assert "wandb sync" in output
    assert time.monotonic() - started < 90, "30 s of waiting, and a busy machine"
    logged = [json.loads(line) for line in (directory / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "train/loss" in line] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_an_unreachable_server_means_an_offline_run_that_keeps_everything(mode: str, directory: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_process(directory, url, 1, 6, "done", f"tracking.wandb.mode={mode}")
    assert done.returncode == 0, done.stderr
    assert "W&B is offline, because" in done.stdout
    assert "wandb sync" in done.stdout
    assert list((directory / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_server_that_accepts_and_never_answers_delays_the_start_by_seconds_only(directory: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        done = run_process(directory, url, 1, 6)
    assert done.returncode == 0, done.stderr
    assert f"W&B is offline, because {url}" in done.stdout
    assert time.monotonic() - started < 40


def test_without_an_account_nothing_is_asked_and_nothing_is_sent(server: Server, directory: Path) -> None:
    without_key = {name: value for name, value in environment(server.url, directory).items() if name != "WANDB_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, str(directory), "1", "6", "done"],
        env=without_key,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "W&B is offline, because there is no key" in done.stdout
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        server.get(f"/api/v2/runs/{RUN_ID}")
