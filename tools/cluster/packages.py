"""The Debian packages that the test cluster needs, installed by name."""

from pathlib import Path

from .sandbox import run

INSTALL = Path(__file__).parents[2] / "scripts" / "install-debian-packages"
PACKAGES = (
    "buildah",
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "iproute2",
    "iptables",
    "openssl",
    "runc",
)


def install_packages() -> None:
    """Install what is missing; ClusterError if it can't be done from here."""
    run([str(INSTALL), *PACKAGES])
