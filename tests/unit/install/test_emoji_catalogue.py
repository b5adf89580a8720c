"""The pictures of `make test-pictures` are those that the checkout pins, whatever the registry delivers."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "emoji_catalogue.py"


def test_another_archive_under_the_pinned_version_is_refused(tmp_path: Path) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho changed > package.tgz\necho package.tgz\n")
    npm.chmod(0o755)
    result = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "emoji"],
        env={"PATH": f"{npm.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "emoji-datasource-twitter@16.0.0 is not the package that this checkout pins" in result.stderr
    assert not (tmp_path / "emoji").exists()
