"""A whole release, made from a commit of this checkout: packages that install and run, and an image with its SBOM."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tools.cluster.packages import install_packages
from tools.cluster.tools import HELM_AND_COREDNS, build

# An environment is made and installed into, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(1800)

CHECKOUT = Path(__file__).parents[2]
VERSION = "0.1.0"
# The stages of ours that a release uses, without the gigabytes in them.
DOCKERFILE = """\
FROM scratch AS package
COPY sbom.cdx.json /install/
FROM scratch AS sbom
COPY --from=package /install/sbom.cdx.json /
FROM scratch
COPY --from=package /install /opt/phi3k
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
"""


def git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit: the files of this checkout, and a changelog that has the version."""
    copy = tmp_path / "checkout"
    for name in git(CHECKOUT, "ls-files", "-z").rstrip("\0").split("\0"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, copy / name)
    (copy / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} - 2026-12-01\n\n- A line for users.\n")
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "Everything")
    return copy


def release(checkout: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/release.py", *map(str, arguments)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_packages_are_made_and_tried(checkout: Path) -> None:
    result = release(checkout, "packages", "dist", build(HELM_AND_COREDNS) / "helm")
    assert result.returncode == 0, result.stderr
    dist = checkout / "dist"
    wheel, source, chart = f"phi3k-{VERSION}-py3-none-any.whl", f"phi3k-{VERSION}.tar.gz", f"phi3k-{VERSION}.tgz"
    notes = f"phi3k-{VERSION}-notes.md"
    assert {path.name for path in dist.iterdir()} == {wheel, source, chart, notes, "SHA256SUMS"}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist, check=True)
    assert "phi3k_trainer/recipe/ready/demo.yaml" in zipfile.ZipFile(dist / wheel).namelist()
    with tarfile.open(dist / source) as archive:
        assert f"phi3k-{VERSION}/requirements.lock" in archive.getnames()
    with tarfile.open(dist / chart) as archive:
        assert "phi3k/templates/pytorchjob.yaml" in archive.getnames()
    assert (dist / notes).read_text() == "- A line for users.\n"
    assert git(checkout, "status", "--porcelain") == ""


def test_what_is_not_committed_is_in_no_release(checkout: Path) -> None:
    (checkout / "README.md").write_text("# Another\n")
    result = release(checkout, "packages", "dist", "helm")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "no release: the checkout has changes: README.md; commit them, since a release is a commit\n"
    )
    assert not (checkout / "dist").exists()


def test_the_image_of_a_release_has_its_version_commit_and_sbom(checkout: Path, tmp_path: Path) -> None:
    install_packages()
    (checkout / "Dockerfile").write_text(DOCKERFILE)
    (checkout / ".dockerignore").unlink()
    (checkout / "sbom.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "A small image")
    dist, image, archive = tmp_path / "dist", f"localhost/phi3k:{VERSION}", tmp_path / "image.tar"
    buildah = f"buildah --root={tmp_path}/store --runroot={tmp_path}/store-run --storage-driver=vfs"
    subprocess.run(
        ["scripts/release-image", dist, image, archive],
        cwd=checkout,
        env={**os.environ, "BUILDER": buildah, "PYTHON": sys.executable},
        check=True,
    )
    assert json.loads((dist / f"phi3k-{VERSION}-sbom.cdx.json").read_text()) == {"bomFormat": "CycloneDX"}
    identity = (dist / f"phi3k-{VERSION}-image-id.txt").read_text().strip()
    with tarfile.open(archive) as saved:
        member = saved.extractfile(f"blobs/{identity.replace(':', '/')}")
        assert member is not None
        configuration = member.read()
    assert f"sha256:{hashlib.sha256(configuration).hexdigest()}" == identity
    labels = json.loads(configuration)["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.revision"] == git(checkout, "rev-parse", "HEAD")
    assert f"phi3k-{VERSION}-sbom.cdx.json" in (dist / "SHA256SUMS").read_text()
