"""The product's image: its Dockerfile built with buildah, on a base made with debootstrap since there is no registry.

Layers stay in the cache, so the gigabytes of dependencies are installed once for each `requirements.lock`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import ClusterError
from .packages import install_packages
from .sandbox import Sandbox, run
from .tools import cache_directory

ROOT = Path(__file__).parents[2]
PRODUCT_IMAGE = "localhost/phi3k:test"
# What the Dockerfile asks of its BASE_IMAGE.
SUITE = "bookworm"
BASE_PACKAGES = "ca-certificates,python3,python3-venv"
# Where the build sees the authority of a proxy that inspects TLS; not among the system's own, whose set-up would fail.
BUILD_CERTIFICATES = "/run/build-certificates.pem"


def build_product_image() -> Path:
    """Build what isn't built yet; return an OCI layout directory with the image, named PRODUCT_IMAGE.

    Raises:
        ClusterError: a step fails; the message ends with its last words.
    """
    install_packages()
    arguments = [f"--build-arg=BASE_IMAGE={build_base_image()}", f"--tag={PRODUCT_IMAGE}"]
    certificates = os.environ.get("PIP_CERT")
    if certificates:
        arguments += [f"--volume={certificates}:{BUILD_CERTIFICATES}:ro", f"--build-arg=PIP_CERT={BUILD_CERTIFICATES}"]
    buildah("build", "--layers", "--isolation=chroot", "--network=host", *arguments, str(ROOT))
    layout = cache_directory() / "product"
    # Uncompressed: the bytes go no further than this disk. Blobs that are already there aren't written again.
    buildah("push", "--disable-compression", PRODUCT_IMAGE, f"oci:{layout}")
    keep_newest(layout)
    return layout


def build_base_image() -> str:
    """The name of a Debian image with Python, made now if it isn't in the store."""
    digest = hashlib.sha256(f"{SUITE} {BASE_PACKAGES}".encode()).hexdigest()[:12]
    name = f"localhost/phi3k-base:{digest}"
    if buildah("images", "--quiet", "--filter", f"reference={name}").strip():
        return name
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix=".base-") as directory:
        run(["nice", "-n", "15", "debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, directory])
        shutil.rmtree(Path(directory) / "var" / "cache" / "apt")
        shutil.rmtree(Path(directory) / "var" / "lib" / "apt")
        container = buildah("from", "scratch").strip()
        buildah("add", "--quiet", container, directory, "/")
        buildah("commit", "--quiet", "--rm", container, name)
    return name


def buildah(*arguments: str) -> str:
    """Run buildah on a store of our own, at low priority; return what it printed."""
    store = cache_directory() / "buildah"
    return run(["nice", "-n", "15", "buildah", f"--root={store}", f"--runroot={store}-run", *arguments])


def keep_newest(layout: Path) -> None:
    """Name the image that was pushed last in an OCI layout, and delete every blob that isn't part of it."""
    index = json.loads((layout / "index.json").read_text())
    newest = index["manifests"][-1]
    newest["annotations"] = {"io.containerd.image.name": PRODUCT_IMAGE}
    index["manifests"] = [newest]
    (layout / "index.json").write_text(json.dumps(index))
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / digest_of(newest)).read_text())
    parts = {digest_of(part) for part in (newest, manifest["config"], *manifest["layers"])}
    for blob in blobs.iterdir():
        if blob.name not in parts:
            blob.unlink()


def digest_of(descriptor: dict[str, str]) -> str:
    """The hexadecimal digest that a descriptor names its blob by."""
    return descriptor["digest"].removeprefix("sha256:")


def import_layout(sandbox: Sandbox, layout: Path) -> None:
    """Load the image of an OCI layout into the sandbox's containerd without writing an archive first."""
    with subprocess.Popen(["tar", "--create", f"--directory={layout}", "."], stdout=subprocess.PIPE) as archive:
        sandbox.run("ctr", "--namespace=k8s.io", "images", "import", "-", stdin=archive.stdout)
    if archive.returncode != 0:
        raise ClusterError(f"tar ended with {archive.returncode} while it read {layout}")
