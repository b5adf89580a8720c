"""One server for most tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server without a fault."""
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture
def clients(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the product find the server and its credentials, as it would find S3."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3: S3Server, clients: None, tmp_path: Path) -> str:
    """The address of an empty bucket."""
    return s3.bucket(tmp_path.name.replace("_", "-").lower())
