"""Make what a release consists of, but for its image, in the checkout where it is started.

The wheel is made from the source distribution, so that both are whole, with the build backend that is locked. It is
tried in an environment of its own, with the locked versions of what phi3k needs without training.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SUMS = "SHA256SUMS"


class ReleaseError(Exception):
    """Why there is no release; its text says what to do."""


def run(*command: str | Path, directory: Path | None = None) -> str:
    """What a program prints.

    Raises:
        ReleaseError: it fails; the message ends with its last words.
    """
    # A checkout on the path, or settings of whoever releases, would stand in for what is tried.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PHI3K_DEFAULTS": ""}
    words = list(map(str, command))
    result = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ReleaseError(
            f"`{' '.join(words)}` ended with {result.returncode}:\n{(result.stdout + result.stderr)[-3000:]}"
        )
    return result.stdout


def release_version(checkout: Path) -> str:
    """The version in pyproject.toml, which chart and image have too.

    Raises:
        ReleaseError: they have another.
    """
    version = str(tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    for name, form in (
        ("charts/phi3k/Chart.yaml", r"^version: (.+)$"),
        ("charts/phi3k/Chart.yaml", r"^appVersion: (.+)$"),
        ("Dockerfile", r"^ARG VERSION=(.+)$"),
    ):
        found = re.findall(form, (checkout / name).read_text(encoding="utf-8"), re.MULTILINE)
        if found != [version]:
            raise ReleaseError(f"{name} has version {', '.join(found)}, pyproject.toml has {version}: make them equal")
    return version


def check_clean(checkout: Path) -> None:
    """Refuse files that are not in the commit.

    Raises:
        ReleaseError: there are some.
    """
    changed = run("git", "status", "--porcelain", directory=checkout).splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ReleaseError(
            f"the checkout has changes: {changed[0][3:]}{more}; commit them, since a release is a commit"
        )


def release_notes(changelog: str, version: str) -> str:
    """The section of a version, without its heading; the heading may go on with a date.

    Raises:
        ReleaseError: there is none.
    """
    found = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.+?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ReleaseError(
            f"CHANGELOG.md has no section for {version}: "
            f"rename its section Unreleased to {version}, or change the version in pyproject.toml"
        )
    return found[1].strip() + "\n"


def locked_requirements(lock: str, requirements: list[str]) -> str:
    """The part of a lock that these requirements need, as the packages installed here say."""
    waiting, needed = list(map(Requirement, requirements)), set[tuple[str, str]]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for found, extra in needed if found == name}:
            needed.add((name, extra))
            inner = map(Requirement, distribution(name).requires or [])
            waiting += [one for one in inner if one.marker is None or one.marker.evaluate({"extra": extra})]
    pins = re.split(r"^(?=[\w])", lock, flags=re.MULTILINE)
    names = {name for name, _ in needed}
    return "".join(pin for pin in pins if canonicalize_name(pin.partition("==")[0]) in names)


def make_python_packages(checkout: Path, directory: Path) -> Path:
    """Write the source distribution and the wheel; return the wheel."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", directory, directory=checkout)
    (source,) = directory.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", directory, source, directory=directory)
    (wheel,) = directory.glob("*.whl")
    return wheel


def try_wheel(checkout: Path, wheel: Path, version: str) -> None:
    """Install the wheel as a user does, and run it.

    Raises:
        ReleaseError: it does not install, or does not do what it should.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        run(sys.executable, "-m", "venv", place / "venv")
        python, phi3k = place / "venv/bin/python", place / "venv/bin/phi3k"
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lock = locked_requirements((checkout / "requirements.lock").read_text(), project["dependencies"])
        (place / "requirements.lock").write_text(lock)
        run(checkout / "scripts/install-locked", python, place / "requirements.lock")
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
        run(python, "-m", "pip", "check")
        for words, expected in (
            (["--version"], version),
            (["recipe", "list"], "burberry-lora"),
            (["render", "demo"], "kind: Job"),
        ):
            if expected not in (shown := run(phi3k, *words, directory=place)):
                raise ReleaseError(f"`phi3k {' '.join(words)}` of {wheel.name} does not show {expected}:\n{shown}")


def make_chart(checkout: Path, directory: Path, helm: str, version: str) -> Path:
    """Package the chart; what the package renders is what the folder renders.

    Raises:
        ReleaseError: Helm finds a fault, or the package renders something else.
    """
    chart = checkout / "charts/phi3k"
    run(helm, "lint", "--strict", chart)
    run(helm, "package", chart, "--destination", directory)
    package = directory / f"phi3k-{version}.tgz"
    if run(helm, "template", "release", package) != run(helm, "template", "release", chart):
        raise ReleaseError(
            f"{package.name} does not render what charts/phi3k renders: look at charts/phi3k/.helmignore"
        )
    return package


def write_sums(directory: Path) -> None:
    """Write the SHA-256 of every other file, as `sha256sum --check` reads them."""
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != SUMS)
    lines = []
    for path in files:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")


def make_packages(checkout: Path, directory: Path, helm: str) -> None:
    """Empty the directory and write all of it.

    Raises:
        ReleaseError: something is missing or fails.
    """
    version = release_version(checkout)
    notes = release_notes((checkout / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    check_clean(checkout)
    if shutil.which(helm) is None:
        raise ReleaseError(f"there is no {helm}: install Helm, or name it: make release HELM=/path/to/helm")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try_wheel(checkout, make_python_packages(checkout, directory), version)
    make_chart(checkout, directory, helm, version)
    (directory / f"phi3k-{version}-notes.md").write_text(notes, encoding="utf-8")
    write_sums(directory)


def main() -> None:
    """Do what the first argument says; a refusal is one message and exit code 1."""
    checkout = Path.cwd()
    try:
        match sys.argv[1:]:
            case ["packages", directory, helm]:
                make_packages(checkout, Path(directory).resolve(), helm)
            case ["version"]:
                check_clean(checkout)
                print(release_version(checkout))
            case ["sums", directory]:
                write_sums(Path(directory))
            case _:
                sys.exit("use: release.py packages DIRECTORY HELM, release.py version, or release.py sums DIRECTORY")
    except ReleaseError as error:
        print(f"no release: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
