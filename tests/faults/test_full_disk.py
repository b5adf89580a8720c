"""A disk that really is full: a few kilobytes of tmpfs, and a file size limit of the kernel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PUT = """
import sys
from pathlib import Path
from phi3k_trainer.data.pictures.store import Store
from phi3k_trainer.errors import StorageError
store = Store(Path(sys.argv[1]))
kept = store.put(b"small")
try:
    store.put(b"x" * 200_000)
except StorageError as error:
    print(error.exit_code, error)
assert store.path(kept).read_bytes() == b"small"
print(sorted(file.name for file in Path(sys.argv[1]).rglob("*") if file.is_file()) == [kept])
"""


def run(command: list[str]) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


@pytest.fixture
def small_disk(tmp_path: Path) -> str:
    """Shell words that mount 100 kB of tmpfs at tmp_path, in a mount namespace that ends with the command."""
    return f"mount -t tmpfs -o size=100k none {tmp_path} && exec "


def in_namespace(shell: str) -> list[str]:
    unshare = [str(shutil.which("unshare")), "--mount"]
    return [*unshare, *([] if os.geteuid() == 0 else ["--map-root-user", "--user"]), "sh", "-c", shell]


def test_a_full_disk_says_how_much_is_missing_and_leaves_nothing_half_written(small_disk: str, tmp_path: Path) -> None:
    said, clean = run(in_namespace(f"{small_disk}{sys.executable} -c '{PUT}' {tmp_path}"))
    assert said.startswith("74 the disk is full")
    assert "needs 200,000 bytes" in said
    missing = int(said.split("at least ")[1].split(" are missing")[0].replace(",", ""))
    assert 100_000 <= missing < 200_000
    assert clean == "True"


def test_a_file_size_limit_is_a_storage_error_that_leaves_nothing_half_written(tmp_path: Path) -> None:
    said, clean = run(["sh", "-c", f"ulimit -f 100 && exec {sys.executable} -c '{PUT}' {tmp_path}"])
    assert said.startswith("74 ")
    assert "ulimit -f" in said
    assert clean == "True"
