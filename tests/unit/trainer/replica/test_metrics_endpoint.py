"""What Prometheus reads: the text format 0.0.4, over HTTP."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi3k_trainer.replica.health import Health
from phi3k_trainer.replica.metrics_endpoint import CONTENT_TYPE, MetricsServer, exposition, serve_metrics

# The grammar of https://prometheus.io/docs/instrumenting/exposition_formats/, for metrics without timestamps.
HEAD = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)")
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\\n]*)"\})? (\S+)')


def parse(text: str) -> dict[str, dict[str, float]]:
    """Values by metric and label; each metric has HELP and TYPE once, before its samples, which stand together."""
    found: dict[str, dict[str, float]] = {}
    heads: list[str] = []
    assert text.endswith("\n")
    for line in text.splitlines():
        if head := HEAD.fullmatch(line):
            heads.append(f"{head[1]} {head[2]}")
            assert head[1] == "HELP" or head[3] == "gauge"
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, _, label, value = sample.groups()
        assert heads[-2:] == [f"HELP {name}", f"TYPE {name}"]
        assert label not in found.setdefault(name, {})
        found[name][label or ""] = float(value)
    assert len(heads) == len(set(heads)) == 2 * len(found)
    return found


@pytest.fixture
def health_file(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


@pytest.fixture
def server(health_file: Path) -> Iterator[MetricsServer]:
    running = serve_metrics(0, health_file, restarts=2)
    yield running
    running.shutdown()
    running.server_close()


def get(server: MetricsServer, path: str) -> tuple[str, str]:
    port = server.server_address[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_a_run_under_way_tells_its_numbers(server: MetricsServer, health_file: Path) -> None:
    health = Health(health_file)
    health.begin_training(119, 400)
    health.step(120, samples=960, tokens=1_000_000, loss=0.83, tokens_per_second=9034.5)
    content_type, text = get(server, "/metrics")
    assert content_type == CONTENT_TYPE
    metrics = parse(text)
    phases = metrics.pop("phi3k_phase")
    assert [name for name, is_current in phases.items() if is_current] == ["training"]
    numbers = {name.removeprefix("phi3k_"): values[""] for name, values in metrics.items()}
    assert 0 <= numbers.pop("seconds_since_progress") < 5
    assert numbers == {
        "restarts": 2,
        "step": 120,
        "total_steps": 400,
        "samples": 960,
        "tokens": 1_000_000,
        "loss": 0.83,
        "tokens_per_second": 9034.5,
        "progress_limit_seconds": health.record.limit_seconds,
    }


def test_before_the_first_step_there_is_no_loss(server: MetricsServer, health_file: Path) -> None:
    Health(health_file).enter("preparing")
    metrics = parse(get(server, "/metrics")[1])
    assert metrics["phi3k_phase"]["preparing"] == 1
    assert not {"phi3k_loss", "phi3k_tokens_per_second"} & metrics.keys()


def test_without_a_health_file_the_restarts_are_told() -> None:
    assert parse(exposition(None, 3, 0.0)) == {"phi3k_restarts": {"": 3}}


def test_progress_grows_old(health_file: Path) -> None:
    health = Health(health_file)
    health.enter("training")
    values = {**health.record.__dict__}
    assert parse(exposition(values, 0, health.record.time + 90))["phi3k_seconds_since_progress"][""] == 90


def test_other_addresses_are_not_found(server: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(server, "/")
