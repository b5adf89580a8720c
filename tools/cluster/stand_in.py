"""An image that stands in for the trainer's where a test is about the cluster: it does what its recipe's env says.

Everything else is real: operators, scheduler, kubelet, logs, exit codes. The product's own image is tested apart.
"""

import os
import sys
from pathlib import Path

import yaml

from phi3k_trainer.contract import PYTHON
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

from .images import BUSYBOX, StaticImage, busybox_links

IMAGE_VARIABLE = "PHI3K_TEST_STAND_IN_IMAGE"
# Someone else's cluster pulls it from where its owner has pushed what `python -m tools.cluster.stand_in` writes.
STAND_IN_IMAGE = os.environ.get(IMAGE_VARIABLE, "localhost/phi3k-stand-in:test")
# The kubelet runs the same program to probe the container: that says nothing here.
SCRIPT = """\
#!/bin/sh
case "$*" in *health_check.py*) exit 0 ;; esac
eval "$STAND_IN"
"""
# The first process of a container has to ask for SIGTERM, else it gets nothing but SIGKILL.
FOREVER = "trap 'exit 143' TERM; sleep 600 & wait"
RESOURCES = "{cpu: 10m, memory: 64Mi, shared_memory: 16Mi, ephemeral_storage: 64Mi}"


def write_stand_in(archive: Path) -> Path:
    """Write the image as `docker save` would."""
    image = StaticImage(STAND_IN_IMAGE, BUSYBOX, "/bin/busybox", (PYTHON,), busybox_links(), {PYTHON: SCRIPT})
    return image.write(archive)


def overrides(script: str, *more: str) -> list[str]:
    """What makes the demo's recipe run `script` in small pods."""
    return [
        f"cluster.image={STAND_IN_IMAGE}",
        f"cluster.resources={RESOURCES}",
        f"cluster.env={yaml.safe_dump({'STAND_IN': script}, default_flow_style=True, width=10**6)}",
        "cluster.grace=35s",
        *more,
    ]


def recipe(script: str, *more: str) -> Recipe:
    """The demo's recipe that runs `script`."""
    return load_recipe(ready_recipe("demo"), overrides(script, *more))


if __name__ == "__main__":
    print(write_stand_in(Path(sys.argv[1] if len(sys.argv) > 1 else "stand-in.tar")))
