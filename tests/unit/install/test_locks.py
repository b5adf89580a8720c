"""The locks are complete: `scripts/install-locked` installs them as they are, and nothing is missing afterwards."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[3]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PACKAGE = PROJECT["project"]
EXTRAS = PACKAGE["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
# What each install of the Makefile and the Dockerfile has to hold, by the locks that it is made from.
# What the image and `make install` have: training, from any store.
PRODUCT = [*PACKAGE["dependencies"], *(one for extra in ("train", "s3", "gcs", "azure") for one in EXTRAS[extra])]
INSTALLS = {
    ("requirements.lock",): PRODUCT,
    ("requirements-build.lock", "requirements.lock"): [*PRODUCT, *GROUPS["build"]],
    ("requirements-build.lock", "requirements-dev.lock"): [
        *PACKAGE["dependencies"],
        *(requirement for extra in EXTRAS.values() for requirement in extra),
        *GROUPS["build"],
    ],
}
MORE_INSTALLERS = (CHECKOUT / "scripts" / "install-locked", CHECKOUT / "tools" / "cluster" / "cluster.mk")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))


class Metadata(NamedTuple):
    """What an installed package asks for."""

    version: str
    python: SpecifierSet
    requirements: tuple[Requirement, ...]


@cache
def metadata(name: str) -> Metadata:
    found = distribution(name).metadata
    requirements = tuple(map(Requirement, found.get_all("Requires-Dist") or []))
    return Metadata(found["Version"], SpecifierSet(found["Requires-Python"] or ""), requirements)


@cache
def lines(lock: str) -> tuple[Requirement, ...]:
    text = (CHECKOUT / lock).read_text()
    return tuple(Requirement(line.removesuffix("\\")) for line in text.splitlines() if not line[0].isspace())


def locked(locks: tuple[str, ...], environment: dict[str, str]) -> dict[str, str]:
    """Normalized name and version of what these locks install in the environment."""
    versions: dict[str, str] = {}
    for requirement in (line for lock in locks for line in lines(lock)):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            assert versions.setdefault(canonicalize_name(requirement.name), pin.version) == pin.version
    return versions


def problems(roots: list[str], versions: dict[str, str], environment: dict[str, str]) -> Iterator[str]:
    """What follows from the roots through extras and markers and isn't locked, and what is locked beyond that."""
    waiting = [("phi3k", Requirement(root), "") for root in roots]
    seen = set(waiting)
    reached = set()
    while waiting:
        owner, requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        version = versions.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield f"{owner} requires {requirement}, locked is {version}"
            continue
        reached.add(name)
        package = metadata(name)
        assert package.version == version, f"{name} {package.version} is installed, {version} is locked: make test"
        if environment["python_full_version"] not in package.python:
            yield f"{name} {version} requires Python {package.python}"
        extras = ("", *requirement.extras)
        found = {(name, inner, wanted) for inner in package.requirements for wanted in extras}
        waiting.extend(found - seen)
        seen |= found
    yield from (f"{name} is locked, and nothing requires it" for name in versions.keys() - reached)


@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("locks", INSTALLS, ids=" ".join)
def test_locks_hold_what_their_packages_require_and_no_more(
    locks: tuple[str, ...], python: str, system: tuple[str, str]
) -> None:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system[0],
        "platform_system": system[0].capitalize(),
        "platform_machine": system[1],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
    }
    assert list(problems(INSTALLS[locks], locked(locks, environment), environment)) == []


def test_every_install_of_the_checkout_is_of_a_lock_or_of_phi3k_itself() -> None:
    text = "\n".join(path.read_text() for path in [CHECKOUT / "Makefile", CHECKOUT / "Dockerfile", *MORE_INSTALLERS])
    commands = re.findall(r"pip install .*?(?=&&|\n)", text.replace("\\\n", " "))
    assert len(commands) >= 4
    for command in commands:
        assert "--no-deps" in command
        assert any(words in command for words in ("--require-hashes", "--no-index", "--no-build-isolation --editable"))
