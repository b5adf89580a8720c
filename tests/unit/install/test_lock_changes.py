"""`scripts/lock` ends with what changed."""

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "lock_changes.py"))


def lock(*pins: str) -> str:
    return "".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in pins)


def test_added_removed_and_changed_packages_are_named_with_their_versions() -> None:
    before = lock("gone==1.0", "kept==2.0.post1", "moved==3.0 ; sys_platform == 'linux'")
    after = lock("came==0.1", "kept==2.0.post1", "moved==3.1 ; sys_platform == 'linux'")
    assert list(SCRIPT["changes"](before, after)) == ["came 0.1 added", "gone 1.0 removed", "moved 3.0 -> 3.1"]


def test_a_package_with_a_version_for_each_python_is_one_line() -> None:
    before = lock("numpy==2.4")
    after = lock("numpy==2.4 ; python_full_version < '3.12'", "numpy==2.5 ; python_full_version >= '3.12'")
    assert list(SCRIPT["changes"](before, after)) == ["numpy 2.4 -> 2.4 and 2.5"]
