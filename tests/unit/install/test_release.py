"""What `make release` refuses, and what it takes from changelog and lock."""

import runpy
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(CHECKOUT / "scripts" / "release.py"))
CHANGELOG = """\
# Changelog

## Unreleased

- Not yet.

## 0.2.0 - 2026-12-01

### New

- A verb.

## 0.1.0

- All.
"""


def test_package_chart_and_image_have_one_version() -> None:
    assert SCRIPT["release_version"](CHECKOUT)


def test_a_chart_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "charts/phi3k").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "charts/phi3k/Chart.yaml").write_text("version: 0.1.0\nappVersion: 0.2.0\n")
    with pytest.raises(SCRIPT["ReleaseError"], match=r"Chart\.yaml has version 0\.1\.0, pyproject\.toml has 0\.2\.0"):
        SCRIPT["release_version"](tmp_path)


@pytest.mark.parametrize(("version", "notes"), [("0.2.0", "### New\n\n- A verb.\n"), ("0.1.0", "- All.\n")])
def test_the_notes_are_the_section_of_the_version(version: str, notes: str) -> None:
    assert SCRIPT["release_notes"](CHANGELOG, version) == notes


@pytest.mark.parametrize("version", ["0.2", "0.3.0", "2.0"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(SCRIPT["ReleaseError"], match=f"no section for {version}: rename its section Unreleased"):
        SCRIPT["release_notes"](CHANGELOG, version)


def test_a_checkout_with_changes_is_refused(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    SCRIPT["check_clean"](tmp_path)
    (tmp_path / "new.txt").write_text("not committed")
    with pytest.raises(SCRIPT["ReleaseError"], match=r"has changes: new\.txt; commit them"):
        SCRIPT["check_clean"](tmp_path)


def test_what_the_wheel_is_tried_with_is_locked_and_trains_nothing() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    part = SCRIPT["locked_requirements"](lock, ["pydantic>=2", "typer"])
    pinned = {line.partition("==")[0] for line in part.splitlines() if not line.startswith(" ")}
    assert {"pydantic", "pydantic-core", "typer", "rich"} <= pinned
    assert not {"torch", "transformers"} & pinned
    assert part.count("==") == len(pinned)
    assert part.count("--hash=sha256:") >= len(pinned)


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "one.whl").write_bytes(b"wheel")
    (tmp_path / "two.tgz").write_bytes(b"chart")
    for _ in range(2):
        SCRIPT["write_sums"](tmp_path)
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert checked.stdout == "one.whl: OK\ntwo.tgz: OK\n"
