"""The product's image: its Dockerfile built with buildah, on a base made with debootstrap since there is no registry.

Layers stay in the cache, so the gigabytes of dependencies are installed once for each `requirements.lock`.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
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


# The stages that the last one copies from. Images of these names keep their layers for the next build.
STAGES = ("dependencies", "package")


def build_product_image() -> None:
    """Build what isn't built yet, as PRODUCT_IMAGE in our store.

    Raises:
        ClusterError: a step fails; the message ends with its last words.
    """
    install_packages()
    revision = run(["git", "-C", str(ROOT), "rev-parse", "HEAD"]).strip()
    # Without a stamp, buildah reads 6 GB to see that nothing changed.
    stamp = cache_directory() / "product-image"
    changed = run(["git", "-C", str(ROOT), "status", "--porcelain"])
    if not changed and stamp.exists() and stamp.read_text() == stamp_of(revision):
        return
    stamp.unlink(missing_ok=True)
    with clean_store():
        arguments = [f"--build-arg=BASE_IMAGE={build_base_image()}"]
        certificates = os.environ.get("PIP_CERT")
        if certificates:
            arguments.append(f"--volume={certificates}:{BUILD_CERTIFICATES}:ro")
            arguments.append(f"--build-arg=PIP_CERT={BUILD_CERTIFICATES}")
        for stage in STAGES:
            build_image(ROOT, f"localhost/phi3k-{stage}:test", f"--target={stage}", *arguments)
        build_image(ROOT, PRODUCT_IMAGE, f"--build-arg=REVISION={revision}", *arguments)
    if not changed:
        stamp.write_text(stamp_of(revision))


def stamp_of(revision: str) -> str:
    """What the stamp holds once the image in the store is that of a commit."""
    return f"{revision} {buildah('images', '--quiet', '--filter', f'reference={PRODUCT_IMAGE}').strip()}"


def build_image(context: Path, name: str, *arguments: str) -> None:
    """Build the Dockerfile of a directory, from the layers in the store as far as they fit."""
    buildah("build", "--layers", "--isolation=chroot", "--network=host", f"--tag={name}", *arguments, str(context))


@contextmanager
def clean_store() -> Iterator[None]:
    """Let one process build; remove afterwards what no named image needs: 13 GB of a failed or an older build."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / ".buildah.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        try:
            yield
        finally:
            buildah("rm", "--all")
            buildah("rmi", "--prune")


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
    """Run buildah on a store of our own; return what it printed."""
    return run(buildah_command(*arguments))


def buildah_command(*arguments: str) -> list[str]:
    """The command line of buildah on a store of our own, at low priority."""
    store = cache_directory() / "buildah"
    return ["nice", "-n", "15", "buildah", f"--root={store}", f"--runroot={store}-run", *arguments]


def load_product_image(sandbox: Sandbox) -> None:
    """Copy PRODUCT_IMAGE from our store into the sandbox's containerd. It takes its size, 6 GB, twice over on disk."""
    # Docker's own archive isn't compressed, which for bytes that go no further than this disk saves minutes.
    push = buildah_command("push", "--quiet", PRODUCT_IMAGE, f"docker-archive:/dev/stdout:{PRODUCT_IMAGE}")
    with subprocess.Popen(push, stdout=subprocess.PIPE) as archive:
        sandbox.run("ctr", "--namespace=k8s.io", "images", "import", "-", stdin=archive.stdout)
    if archive.returncode != 0:
        raise ClusterError(f"`{' '.join(push)}` ended with {archive.returncode}")
