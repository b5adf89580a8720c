"""The cache of the test cluster's programs takes no more disk than they need."""

import os
import time
from fcntl import LOCK_SH
from pathlib import Path

import pytest
from tools.cluster.tools import cache_entry, go_cache, go_cache_lock, remove_go_cache, remove_unused_entries


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def entry_of(pin: str) -> Path:
    with cache_entry("program", pin) as (entry, _):
        pass
    return entry


def test_entries_that_no_one_asks_for_are_removed_after_a_month() -> None:
    older, used = entry_of("older pin"), entry_of("pin")
    long_ago = time.time() - 31 * 24 * 3600
    for entry in (older, used):
        os.utime(entry, (long_ago, long_ago))
    assert entry_of("pin") == used
    remove_unused_entries()
    assert used.is_dir()
    assert not older.exists()


def test_what_go_compiled_is_kept_while_another_process_builds() -> None:
    go_cache().mkdir(parents=True)
    with go_cache_lock(LOCK_SH):
        remove_go_cache()
        assert go_cache().is_dir()
    remove_go_cache()
    assert not go_cache().exists()
