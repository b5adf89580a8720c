"""`python -m tools.cluster build|up|down [--name NAME]`, `python -m tools.cluster test PYTEST-ARGUMENT...`."""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cluster, sandbox
from .errors import ClusterError
from .packages import install_packages
from .product import build_product_image, load_product_image
from .stand_in import write_stand_in
from .tools import VERSITYGW, build, remove_go_cache, remove_unused_entries


def main() -> int:
    """Do the verb; a failure is one message and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster", description="A Kubernetes cluster on this machine."
    )
    parser.add_argument("verb", choices=["build", "up", "down", "test"], help="build fills the cache only")
    parser.add_argument("--name", default="dev", help="several can run side by side (default: %(default)s)")
    arguments, rest = parser.parse_known_args()
    if rest and arguments.verb != "test":
        parser.error(f"unknown: {' '.join(rest)}")
    begin = time.monotonic()
    try:
        if arguments.verb == "build" and (reason := cluster.obstacle()):
            print(f"nothing to build: {reason}")
        elif arguments.verb == "build":
            build_everything()
        elif arguments.verb == "up":
            running = cluster.up(arguments.name, detached=True)
            print(f"the cluster {arguments.name} is up after {time.monotonic() - begin:.0f} s; use it with")
            print(f"export KUBECONFIG={running.kubeconfig}")
        elif arguments.verb == "test":
            return test(rest)
        else:
            sandbox.destroy(arguments.name)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_everything() -> None:
    """Fill the cache: the image mostly waits for the network and the disk, the programs for the processors."""
    install_packages()
    with ThreadPoolExecutor() as pool:
        image = pool.submit(build_product_image)
        cluster.build_programs()
        build(VERSITYGW)
        remove_go_cache()
        remove_unused_entries()
        image.result()


def test(arguments: list[str]) -> int:
    """Run pytest, whose processes all use one cluster that lives as long as this process; return pytest's code.

    The images in it are those that `build` has made.
    """
    command = [sys.executable, "-m", "pytest", *arguments]
    if cluster.obstacle():
        return subprocess.run(command, check=False).returncode
    running = cluster.up(f"test-{secrets.token_hex(3)}", detached=False)
    assert running.sandbox is not None
    try:
        with tempfile.TemporaryDirectory() as directory:
            running.load_image(write_stand_in(Path(directory) / "stand-in.tar"))
        load_product_image(running.sandbox)
        environment = {**os.environ, cluster.SHARED_VARIABLE: running.sandbox.name}
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        running.sandbox.destroy()


if __name__ == "__main__":
    sys.exit(main())
