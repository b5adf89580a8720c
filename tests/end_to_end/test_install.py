"""`make install` among newer releases: every package of the locks has one, as it has a few days after locking.

The packages come from a directory of wheels made here: those of the build backend are whole, of the others only the
metadata, so an install of everything takes seconds and no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
BUILD = "requirements-build.lock"
LOCKS = (BUILD, "requirements.lock", "requirements-dev.lock")
NEWER = "9999"
# The oldest pip that comes with a Python we support, and whatever is newest today.
PIPS = ("pip==23.2.1", "pip")


def pins(lock: Path) -> Iterator[Requirement]:
    return (Requirement(line.removesuffix("\\")) for line in lock.read_text().splitlines() if line[:1].strip())


def wheel(directory: Path, package: Distribution, version: str, *, whole: bool) -> str:
    """Write a wheel with the package's metadata, and with all its files if it is whole; return its SHA-256."""
    name = package.name.replace("-", "_").replace(".", "_")
    information = f"{name}-{version}.dist-info"
    metadata = str(package.read_text("METADATA")).replace(f"\nVersion: {package.version}\n", f"\nVersion: {version}\n")
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in package.files or [] if whole else []:
            if file.suffix == ".py" and ".." not in file.parts:
                archive.write(file.locate(), file.as_posix())
        if entry_points := package.read_text("entry_points.txt"):
            archive.writestr(f"{information}/entry_points.txt", entry_points)
        archive.writestr(f"{information}/METADATA", metadata)
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose locks pin the wheels in `wheels`, each in the version of the real lock."""
    copy = tmp_path_factory.mktemp("checkout")
    files = subprocess.run(["git", "-C", CHECKOUT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in files.stdout.rstrip("\0").split("\0"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, copy / name)
    wheels = copy / "wheels"
    wheels.mkdir()
    backend = {pin.name for pin in pins(CHECKOUT / BUILD)}

    @cache
    def digest(name: str) -> str:
        package = distribution(name)
        wheel(wheels, package, NEWER, whole=False)
        return wheel(wheels, package, package.version, whole=name in backend)

    for lock in LOCKS:
        here = [pin for pin in pins(CHECKOUT / lock) if pin.marker is None or pin.marker.evaluate()]
        (copy / lock).write_text("".join(f"{pin} \\\n    --hash=sha256:{digest(pin.name)}\n" for pin in here))
    return copy


@pytest.fixture(params=PIPS)
def environment(request: pytest.FixtureRequest, checkout: Path) -> Iterator[Path]:
    """The checkout's virtual environment with one pip in it."""
    path = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(path / "bin" / "python"),
        "install",
        "--quiet",
        request.param,
    ]
    subprocess.run(install, check=True)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_an_install_takes_what_is_locked_though_all_of_it_has_newer_releases(
    lock: str, environment: Path, checkout: Path
) -> None:
    target = {"requirements.lock": ".venv/.installed", "requirements-dev.lock": ".venv/.installed-dev"}[lock]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "MAKE"))}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout / "wheels")}
    result = subprocess.run(
        ["make", target], cwd=checkout, env={**outside, **pip}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = {
        canonicalize_name(package.name): package.version
        for package in distributions(path=list(map(str, environment.glob("lib/*/site-packages"))))
    }
    pinned = {
        pin.name: str(pin.specifier).removeprefix("==") for name in (BUILD, lock) for pin in pins(checkout / name)
    }
    assert {name: version for name, version in found.items() if name not in {"pip", "phi3k"}} == pinned
