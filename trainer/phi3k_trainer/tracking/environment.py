"""What a run ran on: versions, host, GPUs and the commit of the code."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phi3k_trainer.contract import IMAGE_VARIABLE, REVISION_VARIABLE

PACKAGES = (
    "phi3k", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "flash-attn",
    "safetensors", "tokenizers", "pillow", "numpy", "wandb",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Describe this machine and this code in JSON types; what can't be known is None."""
    import torch

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "packages": {name: _package_version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu_count": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [{"name": gpu.name, "memory_gb": round(gpu.total_memory / 1e9, 1)} for gpu in gpus],
        "cuda": torch.version.cuda,
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "image": os.environ.get(IMAGE_VARIABLE),
        "git": git_commit(Path(__file__).parent),
    }


def git_commit(directory: Path) -> dict[str, Any] | None:
    """Commit of the code and whether tracked files differ from it; None where nothing tells.

    In the trainer image, which has neither git nor a checkout, PHI3K_REVISION says what it was built from.
    """
    if revision := os.environ.get(REVISION_VARIABLE):
        return {"commit": revision, "modified": False}
    if shutil.which("git") is None:
        return None
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
