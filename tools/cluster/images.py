"""Container images without a registry: one static program on an empty file system, written as a docker archive."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .node import PAUSE_IMAGE
from .sandbox import Sandbox, run

# Operators ask for runAsNonRoot, which needs a numeric user.
NON_ROOT = "65532:65532"
BUSYBOX = Path("/bin/busybox")
# What tests run in pods; the same name is pulled where the tests run on someone else's cluster.
PROBE_IMAGE = "busybox:stable"


@dataclass(frozen=True)
class StaticImage:
    """An image with `program` at `path`, for busybox a link to it by each name in `links`, and executable `scripts`."""

    name: str
    program: Path
    path: str
    entrypoint: tuple[str, ...]
    links: tuple[str, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)

    def write(self, archive: Path) -> Path:
        """Write the image as `docker save` would, the same bytes for the same program."""
        layer = archive.with_suffix(".layer")
        with tarfile.open(layer, "w") as tar:
            tar.add(self.program, self.path.lstrip("/"), filter=_anonymous)
            for link in self.links:
                entry = tarfile.TarInfo(link.lstrip("/"))
                entry.type, entry.linkname = tarfile.SYMTYPE, self.path
                tar.addfile(entry)
            for script, text in self.scripts.items():
                entry = tarfile.TarInfo(script.lstrip("/"))
                entry.size, entry.mode = len(text.encode()), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
            temporary = tarfile.TarInfo("tmp")
            temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(temporary)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        configuration = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "User": NON_ROOT, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]
        with tarfile.open(archive, "w") as tar:
            for name, content in (("manifest.json", manifest), ("config.json", configuration)):
                data = json.dumps(content).encode()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
            tar.add(layer, "layer.tar", filter=_anonymous)
        layer.unlink()
        return archive


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def basic_images() -> tuple[StaticImage, ...]:
    """The sandbox image of every pod and the image that tests run."""
    forever = ("/bin/busybox", "sleep", "2147483647")
    return (
        StaticImage(PAUSE_IMAGE, BUSYBOX, "/bin/busybox", forever),
        StaticImage(PROBE_IMAGE, BUSYBOX, "/bin/busybox", ("/bin/sh",), busybox_links()),
    )


def busybox_links() -> tuple[str, ...]:
    """The name of each of busybox's programs, as a path in an image."""
    return tuple(f"bin/{name}" for name in run([str(BUSYBOX), "--list"]).split() if name != "busybox")


def import_image(sandbox: Sandbox, archive: Path) -> None:
    """Load a docker archive into the sandbox's containerd, for kubelet to find."""
    sandbox.run("ctr", "--namespace=k8s.io", "images", "import", str(archive))
