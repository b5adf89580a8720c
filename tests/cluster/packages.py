"""The Debian packages that the test cluster needs, installed by name."""

import os
import shutil
import subprocess

from .errors import ELSEWHERE, ClusterError

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


def missing_packages() -> list[str]:
    """Those of PACKAGES that dpkg doesn't know as installed.

    Raises:
        ClusterError: this is no Debian.
    """
    if shutil.which("dpkg-query") is None:
        raise ClusterError(f"the test cluster needs Debian; {ELSEWHERE}")
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES]
    listed = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def install_missing_packages() -> None:
    """Install what is missing with apt-get.

    Raises:
        ClusterError: something is missing and we aren't root, or apt-get fails.
    """
    missing = missing_packages()
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise ClusterError(f"the test cluster needs Debian packages; as root: {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "--quiet"], command):
        result = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ClusterError(f"`{' '.join(step)}` failed:\n{result.stderr[-2000:]}")
