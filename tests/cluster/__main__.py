"""`python -m tests.cluster build|up|down [--name NAME]`."""

import argparse
import sys
import time

from . import cluster, sandbox
from .errors import ClusterError
from .product import build_product_image
from .tools import HELM, KWOK, build


def main() -> int:
    """Do the verb; a failure is one message and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A Kubernetes cluster on this machine."
    )
    parser.add_argument("verb", choices=["build", "up", "down"], help="build fills the cache only")
    parser.add_argument("--name", default="dev", help="several can run side by side (default: %(default)s)")
    arguments = parser.parse_args()
    begin = time.monotonic()
    try:
        if arguments.verb == "build" and (reason := cluster.obstacle()):
            print(f"nothing to build: {reason}")
        elif arguments.verb == "build":
            cluster.build_programs()
            for tool in (HELM, KWOK):
                build(tool)
            build_product_image()
        elif arguments.verb == "up":
            running = cluster.up(arguments.name, detached=True)
            print(f"the cluster {arguments.name} is up after {time.monotonic() - begin:.0f} s; use it with")
            print(f"export KUBECONFIG={running.kubeconfig}")
        else:
            sandbox.destroy(arguments.name)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
