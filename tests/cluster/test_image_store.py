"""Builds of the product's image leave in the store what the next one needs, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.cluster.errors import ClusterError
from tools.cluster.packages import install_packages
from tools.cluster.product import build_image, buildah, clean_store
from tools.cluster.sandbox import run


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to build from, and a store of its own, of which no mount is left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install_packages()
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "large").write_text("large")
    (directory / "small").write_text("small")
    yield directory
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(str(tmp_path))), reverse=True):
        run(["umount", mount])


def write(context: Path, *last: str) -> None:
    steps = ["FROM scratch AS dependencies", "COPY large /large", "FROM dependencies", "COPY small /small", *last]
    (context / "Dockerfile").write_text("\n".join(steps))


def build(context: Path) -> None:
    with clean_store():
        build_image(context, "localhost/dependencies:test", "--target=dependencies")
        build_image(context, "localhost/product:test")


def names() -> list[str]:
    """Every image of the store by its name, `<none>` for layers that only a build made."""
    images = json.loads(buildah("images", "--all", "--json"))
    return sorted(name for image in images for name in image.get("names") or ["<none>"])


def test_a_failed_build_leaves_the_named_stage_and_no_container(context: Path) -> None:
    write(context, "RUN there-is-no-shell")
    with pytest.raises(ClusterError):
        build(context)
    assert names() == ["localhost/dependencies:test"]
    assert buildah("containers", "--quiet") == ""


def test_a_build_replaces_the_one_before(context: Path) -> None:
    write(context)
    build(context)
    (layers, before) = (names(), buildah("images", "--quiet", "localhost/product:test"))
    (context / "large").write_text("changed")
    build(context)
    assert buildah("images", "--quiet", "localhost/product:test") != before
    assert names() == layers
